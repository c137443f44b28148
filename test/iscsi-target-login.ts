/**
 * The login of the scripted target (iscsi-target.ts): CHAP in both directions, keys, redirections, refusals;
 * and the bytes that both need.
 *
 * Contract: shares no code with src. It chooses what its options say, also against the rules.
 */
import { createHash, randomBytes } from 'node:crypto';

/** A PDU that came. */
export interface Incoming {
  readonly opcode: number;
  readonly header: Buffer;
  readonly data: Buffer;
  readonly task: number;
  /** Of commands. */
  readonly cdb: Buffer;
  /** Which connection, from 1. */
  readonly connection: number;
}

export interface TargetOptions {
  readonly keys?: Readonly<Record<string, string>>;
  readonly chap?: { user: string; secret: string; targetUser?: string; targetSecret?: string };
  readonly hash?: 'md5' | 'sha1' | 'sha256';
  /** Like tgt, it takes the number of SHA-256 for SHA-1. */
  readonly mistakesHash?: boolean;
  readonly redirectTo?: string;
  readonly loginStatus?: readonly [number, number];
  /** Commands that it takes at once. */
  readonly window?: number;
  readonly sendTargets?: readonly string[];
}

const HASH_NUMBERS = { md5: '5', sha1: '6', sha256: '7' } as const;
const DEFAULTS: Readonly<Record<string, string>> = {
  MaxRecvDataSegmentLength: '8192',
  InitialR2T: 'Yes',
  ImmediateData: 'Yes',
  FirstBurstLength: '65536',
  MaxBurstLength: '262144',
};

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] as number);
  return (crc ^ 0xffffffff) >>> 0;
}

/** A header of the target's; numbers by their place. */
export function pdu(opcode: number, flags: number, numbers: Record<number, number>): Buffer {
  const header = Buffer.alloc(48);
  header[0] = opcode;
  header[1] = flags;
  for (const [at, value] of Object.entries(numbers)) header.writeUInt32BE(value >>> 0, Number(at));
  return header;
}

type Pairs = Record<string, string>;

interface LoginReply {
  readonly pairs: Pairs;
  /** Absent: the stage goes on. */
  readonly next?: number | undefined;
  readonly status?: readonly [number, number];
}

export class TargetLogin {
  readonly keys: Pairs;
  readonly #options: TargetOptions;
  #challenge: Uint8Array = Buffer.alloc(0);
  digests = { header: false, data: false };
  isFull = false;
  /** What the initiator takes in one PDU. */
  receiveMax = 8192;

  constructor(options: TargetOptions) {
    this.#options = options;
    this.keys = { ...DEFAULTS, ...options.keys };
  }

  /** The answer to a login request, but for its number. */
  answer({ header, data, task }: Incoming): { header: Buffer; text: Buffer } {
    const flags = header.readUInt8(1);
    const [stage, next, transit] = [(flags >> 2) & 3, flags & 3, (flags & 0x80) !== 0];
    const lines = data.toString('latin1').split('\0');
    const words = lines.filter((line) => line !== '').map((line) => line.split(/=(.*)/s));
    const reply = this.#reply(
      stage,
      new Map(words as [string, string][]),
      transit ? next : undefined,
    );
    const reached = reply.next === undefined ? 0 : 0x80 | reply.next;
    const answer = pdu(0x23, reached | (stage << 2), { 16: task });
    header.copy(answer, 8, 8, 14);
    answer.writeUInt16BE(reply.next === 3 ? 1 : 0, 14);
    [answer[36], answer[37]] = reply.status ?? [0, 0];
    const text = Object.entries(reply.pairs).map(([key, value]) => `${key}=${value}\0`);
    return { header: answer, text: Buffer.from(text.join('')) };
  }

  #reply(stage: number, pairs: Map<string, string>, next: number | undefined): LoginReply {
    const { redirectTo, loginStatus } = this.#options;
    if (redirectTo !== undefined) return { pairs: { TargetAddress: redirectTo }, status: [1, 1] };
    if (loginStatus !== undefined) return { pairs: {}, status: loginStatus };
    if (stage === 0) return this.#security(pairs, next);
    const answers: Pairs = {};
    for (const [key, value] of pairs) this.#negotiate(key, value, answers);
    const { MaxRecvDataSegmentLength = '' } = this.keys;
    if (pairs.size > 0) answers.MaxRecvDataSegmentLength = MaxRecvDataSegmentLength;
    this.isFull = next !== undefined;
    return { pairs: answers, next };
  }

  /** To be called when the last answer was sent: from now on. */
  settle(): void {
    if (!this.isFull) return;
    const { HeaderDigest, DataDigest } = this.keys;
    this.digests = { header: HeaderDigest === 'CRC32C', data: DataDigest === 'CRC32C' };
  }

  #security(pairs: Map<string, string>, next: number | undefined): LoginReply {
    const { chap, hash = 'md5', mistakesHash } = this.#options;
    const group = { TargetPortalGroupTag: '1' };
    const isMistaken = mistakesHash === true && this.#wasOffered('7', pairs);
    if (chap === undefined) return { pairs: { AuthMethod: 'None', ...group }, next };
    if (pairs.has('AuthMethod')) return { pairs: { AuthMethod: 'CHAP', ...group } };
    if (pairs.has('CHAP_A')) {
      this.#challenge = randomBytes(16);
      const challenge = `0b${Buffer.from(this.#challenge).toString('base64')}`;
      const number = isMistaken ? '7' : HASH_NUMBERS[hash];
      return { pairs: { CHAP_A: number, CHAP_I: '7', CHAP_C: challenge } };
    }
    const respond = (identifier: string, secret: string, challenge: Uint8Array): string => {
      const bytes = Buffer.concat([Buffer.of(Number(identifier)), Buffer.from(secret), challenge]);
      const chosen = isMistaken ? 'sha1' : hash;
      return `0x${createHash(chosen).update(bytes).digest('hex')}`;
    };
    const isRight =
      pairs.get('CHAP_N') === chap.user &&
      pairs.get('CHAP_R') === respond('7', chap.secret, this.#challenge);
    if (!isRight) return { pairs: {}, status: [2, 1] };
    const theirs = pairs.get('CHAP_C');
    if (theirs === undefined || chap.targetSecret === undefined) return { pairs: {}, next };
    const challenge = Buffer.from(theirs.slice(2), 'hex');
    const response = respond(pairs.get('CHAP_I') ?? '', chap.targetSecret, challenge);
    return { pairs: { CHAP_N: chap.targetUser ?? 'target', CHAP_R: response }, next };
  }

  #offered: readonly string[] = [];

  #wasOffered(number: string, pairs: Map<string, string>): boolean {
    this.#offered = pairs.get('CHAP_A')?.split(',') ?? this.#offered;
    return this.#offered.includes(number);
  }

  #negotiate(key: string, value: string, answers: Pairs): void {
    const own = this.#options.keys?.[key] ?? DEFAULTS[key];
    if (key === 'MaxRecvDataSegmentLength') this.receiveMax = Number(value);
    else if (key.endsWith('Digest')) answers[key] = own ?? (value.split(',')[0] as string);
    else if (key === 'InitialR2T') answers[key] = own === 'Yes' ? 'Yes' : value;
    else if (key === 'ImmediateData') answers[key] = own === 'No' ? 'No' : value;
    else if (key.endsWith('BurstLength')) answers[key] = `${Math.min(Number(own), Number(value))}`;
    else answers[key] = own ?? value;
    if (answers[key] !== undefined) this.keys[key] = answers[key];
  }
}
