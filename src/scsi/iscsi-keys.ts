/**
 * Negotiating how a session works (RFC 7143, 13). Pure.
 *
 * Contract: what is offered is what this initiator can do, never more: one connection, no recovery of lost
 * PDUs (level 0), data in order. A value that the target chooses is checked against the offer; one that the
 * rules do not allow ends the login. Keys that the target brings up itself are answered as the rules say.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { TextPairs } from './iscsi-text.ts';

/** What a session keeps to. */
export interface SessionParameters {
  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
  /** The target wants to ask for all data but the immediate. */
  readonly initialR2t: boolean;
  readonly immediateData: boolean;
  /** The data segment that the target takes. */
  readonly sendBytesMax: number;
  /** The data segment that we take. */
  readonly receiveBytesMax: number;
  readonly maxBurstBytes: number;
  readonly firstBurstBytes: number;
  readonly targetAlias: string;
}

export interface KeyOffer {
  readonly headerDigest: 'none' | 'either' | 'required';
  readonly dataDigest: 'none' | 'either' | 'required';
  readonly receiveBytesMax: number;
  readonly maxBurstBytes: number;
  readonly firstBurstBytes: number;
  readonly initialR2t: boolean;
  readonly immediateData: boolean;
}

export const DEFAULT_OFFER: KeyOffer = {
  headerDigest: 'either',
  dataDigest: 'either',
  receiveBytesMax: LIMITS.iscsiReceiveBytesMax,
  maxBurstBytes: LIMITS.iscsiBurstBytesMax,
  firstBurstBytes: LIMITS.iscsiFirstBurstBytesMax,
  initialR2t: false,
  immediateData: true,
};

/** Before anything is negotiated (RFC 7143's defaults). */
export const LOGIN_PARAMETERS: SessionParameters = {
  headerDigest: false,
  dataDigest: false,
  initialR2t: true,
  immediateData: true,
  sendBytesMax: 8192,
  receiveBytesMax: 8192,
  maxBurstBytes: 262_144,
  firstBurstBytes: 65_536,
  targetAlias: '',
};

const SEGMENT_MIN = 512;
const SEGMENT_MAX = 2 ** 24 - 1;

/** Digests cost time: where they may be either, none is the first choice. */
const DIGESTS = { none: 'None', either: 'None,CRC32C', required: 'CRC32C' } as const;

type Rule = 'list' | 'or' | 'and' | 'least' | 'most' | 'declared';

const RULES: Readonly<Record<string, Rule>> = {
  HeaderDigest: 'list',
  DataDigest: 'list',
  MaxConnections: 'least',
  InitialR2T: 'or',
  ImmediateData: 'and',
  MaxRecvDataSegmentLength: 'declared',
  MaxBurstLength: 'least',
  FirstBurstLength: 'least',
  DefaultTime2Wait: 'most',
  DefaultTime2Retain: 'least',
  MaxOutstandingR2T: 'least',
  DataPDUInOrder: 'or',
  DataSequenceInOrder: 'or',
  ErrorRecoveryLevel: 'least',
};
/** What a discovery session has to do with; the others are irrelevant there. */
const DISCOVERY = ['HeaderDigest', 'DataDigest', 'MaxRecvDataSegmentLength'];
const INFORMATIVE = new Set(['TargetAlias', 'TargetAddress', 'TargetPortalGroupTag']);

export class KeyNegotiation {
  readonly #offered: Map<string, string>;
  readonly #agreed = new Map<string, string>();
  readonly #offer: KeyOffer;
  #sendBytesMax = LOGIN_PARAMETERS.sendBytesMax;
  #targetAlias = '';

  constructor(offer: KeyOffer, isDiscovery: boolean) {
    this.#offer = offer;
    const all: [string, string][] = [
      ['HeaderDigest', DIGESTS[offer.headerDigest]],
      ['DataDigest', DIGESTS[offer.dataDigest]],
      ['MaxConnections', '1'],
      ['InitialR2T', offer.initialR2t ? 'Yes' : 'No'],
      ['ImmediateData', offer.immediateData ? 'Yes' : 'No'],
      ['MaxRecvDataSegmentLength', String(offer.receiveBytesMax)],
      ['MaxBurstLength', String(offer.maxBurstBytes)],
      ['FirstBurstLength', String(Math.min(offer.firstBurstBytes, offer.maxBurstBytes))],
      ['DefaultTime2Wait', '2'],
      ['DefaultTime2Retain', '0'],
      ['MaxOutstandingR2T', '1'],
      ['DataPDUInOrder', 'Yes'],
      ['DataSequenceInOrder', 'Yes'],
      ['ErrorRecoveryLevel', '0'],
    ];
    this.#offered = new Map(all.filter(([key]) => !isDiscovery || DISCOVERY.includes(key)));
  }

  /** The offer, to be sent once. */
  offers(): TextPairs {
    return [...this.#offered];
  }

  /**
   * Takes what the target says, and returns what is to be answered.
   *
   * @throws PenstockError DEVICE_PROTOCOL where a value is against the rules
   */
  take(pairs: TextPairs): TextPairs {
    const answers: [string, string][] = [];
    for (const [key, value] of pairs) {
      const answer = this.#takeOne(key, value);
      if (answer !== undefined) answers.push([key, answer]);
    }
    return answers;
  }

  #takeOne(key: string, value: string): string | undefined {
    const rule = RULES[key];
    if (INFORMATIVE.has(key)) {
      if (key === 'TargetAlias') this.#targetAlias = value;
      return undefined;
    }
    if (rule === undefined) return value === 'NotUnderstood' ? undefined : 'NotUnderstood';
    if (rule === 'declared') {
      this.#sendBytesMax = numberOf(key, value, SEGMENT_MIN, SEGMENT_MAX);
      return undefined;
    }
    const offered = this.#offered.get(key);
    if (offered === undefined) return 'Irrelevant';
    if (value === 'Irrelevant') return undefined;
    if (value === 'Reject' || value === 'NotUnderstood') {
      // The default holds then; where that is not what we can do, checkAgreed says so.
      return undefined;
    }
    if (this.#agreed.has(key)) return undefined;
    const isList = rule === 'list' && value.includes(',');
    this.#agreed.set(
      key,
      isList ? firstOf(key, offered, value) : chosen(key, rule, offered, value),
    );
    return undefined;
  }

  /** What holds from the full feature phase on. */
  parameters(): SessionParameters {
    const of = (key: string, otherwise: string): string => this.#agreed.get(key) ?? otherwise;
    const { headerDigest, dataDigest } = this.#offer;
    const result: SessionParameters = {
      headerDigest: of('HeaderDigest', 'None') === 'CRC32C',
      dataDigest: of('DataDigest', 'None') === 'CRC32C',
      initialR2t: of('InitialR2T', 'Yes') === 'Yes',
      immediateData: of('ImmediateData', 'Yes') === 'Yes' && this.#offer.immediateData,
      sendBytesMax: this.#sendBytesMax,
      receiveBytesMax: this.#offer.receiveBytesMax,
      maxBurstBytes: Number(of('MaxBurstLength', '262144')),
      firstBurstBytes: Number(of('FirstBurstLength', '65536')),
      targetAlias: this.#targetAlias,
    };
    for (const [wanted, got, what] of [
      [headerDigest, result.headerDigest, 'header'],
      [dataDigest, result.dataDigest, 'data'],
    ] as const) {
      if (wanted === 'required' && !got) refuse(`no ${what} digests, which were required`);
    }
    if (result.firstBurstBytes > result.maxBurstBytes) refuse('a first burst above all bursts');
    return result;
  }
}

/** What the target chose of an offer, checked. */
function chosen(key: string, rule: Rule, offered: string, value: string): string {
  switch (rule) {
    case 'list':
      if (!offered.split(',').includes(value)) refuse(`${key}=${value}, which was not offered`);
      return value;
    case 'or':
    case 'and': {
      if (value !== 'Yes' && value !== 'No') refuse(`${key}=${value}`);
      const dominant = rule === 'or' ? 'Yes' : 'No';
      return offered === dominant || value === dominant ? dominant : value;
    }
    default: {
      const [low, high] = key.endsWith('BurstLength') ? [SEGMENT_MIN, SEGMENT_MAX] : [0, 65_535];
      const [ours, theirs] = [Number(offered), numberOf(key, value, low, high)];
      return String(rule === 'least' ? Math.min(ours, theirs) : Math.max(ours, theirs));
    }
  }
}

/** The target made an offer of its own: the first of its list that we can do. */
function firstOf(key: string, offered: string, value: string): string {
  const ours = offered.split(',');
  const found = value.split(',').find((one) => ours.includes(one));
  return found ?? refuse(`${key}=${value}, of which we can do nothing`);
}

function numberOf(key: string, value: string, low: number, high: number): number {
  const number = /^(?:\d{1,10}|0[xX][0-9a-fA-F]{1,8})$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= low && number <= high)) refuse(`${key}=${value}`);
  return number;
}

function refuse(what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `the target answered the login with ${what}`);
}
