/**
 * The login of one connection as a table of states. Pure: it is given the target's answers and says what to
 * send next.
 *
 *   state        sends                                  on an answer that moves on
 *   security     names, AuthMethod                      None → operational, CHAP → algorithm
 *   algorithm    CHAP_A                                 → response
 *   response     CHAP_N, CHAP_R (CHAP_I, CHAP_C)        → operational
 *   operational  all keys, then answers                 → done
 *
 * Contract: a target that skips authentication which was asked for, goes back, or answers without end
 * (LIMITS.iscsiLoginRoundsMax) is refused. Nothing is remembered of a login that failed.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Random } from '../host/mod.ts';
import { CHAP_ALL, ChapExchange, type ChapSecrets, chapAlgorithms } from './iscsi-chap.ts';
import { KeyNegotiation, type KeyOffer, type SessionParameters } from './iscsi-keys.ts';
import { LOGIN_STAGE, type TargetPdu } from './iscsi-pdu.ts';
import type { TextPairs } from './iscsi-text.ts';

export interface LoginOptions {
  readonly initiatorName: string;
  /** Absent for a discovery session. */
  readonly targetName?: string;
  readonly chap?: ChapSecrets;
  readonly offer: KeyOffer;
  readonly random: Random;
}

/** The next login request. */
export interface LoginStep {
  readonly stage: number;
  readonly nextStage: number;
  readonly transit: boolean;
  readonly pairs: TextPairs;
}

export type LoginAnswer = Extract<TargetPdu, { kind: 'login' }>;

export type LoginOutcome =
  | { readonly kind: 'send'; readonly step: LoginStep }
  | { readonly kind: 'done'; readonly parameters: SessionParameters }
  | { readonly kind: 'redirected'; readonly address: string };

type State = 'security' | 'algorithm' | 'response' | 'operational' | 'done';

const MOVED_CLASS = 1;

export class Login {
  readonly #options: LoginOptions;
  readonly #keys: KeyNegotiation;
  readonly #chap: ChapExchange | undefined;
  readonly #algorithms: readonly string[];
  #state: State = 'security';
  #rounds = 0;

  /** @param algorithms of CHAP, by their numbers, the best first */
  constructor(options: LoginOptions, algorithms: readonly string[] = CHAP_ALL) {
    this.#options = options;
    this.#algorithms = algorithms;
    this.#keys = new KeyNegotiation(options.offer, options.targetName === undefined);
    this.#chap =
      options.chap === undefined ? undefined : new ChapExchange(options.chap, options.random);
  }

  /** The first request. */
  first(): LoginStep {
    const { initiatorName, targetName } = this.#options;
    const isDiscovery = targetName === undefined;
    const pairs: [string, string][] = [
      ['InitiatorName', initiatorName],
      ['SessionType', isDiscovery ? 'Discovery' : 'Normal'],
      ...(isDiscovery ? [] : [['TargetName', targetName] as [string, string]]),
      ['AuthMethod', this.#chap === undefined ? 'None' : 'CHAP'],
    ];
    return security(pairs, this.#chap === undefined);
  }

  /** @throws PenstockError DEVICE_REFUSED, DEVICE_BUSY or DEVICE_PROTOCOL */
  answer(pdu: LoginAnswer, pairs: TextPairs): LoginOutcome {
    assert(this.#state !== 'done', 'a login is over once');
    this.#rounds += 1;
    if (this.#rounds > LIMITS.iscsiLoginRoundsMax) confused('a login without end');
    if (pdu.statusClass === MOVED_CLASS) {
      const address = new Map(pairs).get('TargetAddress');
      return { kind: 'redirected', address: address ?? confused('no address to go to') };
    }
    if (pdu.statusClass !== 0) refused(pdu.statusClass, pdu.statusDetail);
    const stage = this.#state === 'operational' ? LOGIN_STAGE.operational : LOGIN_STAGE.security;
    if (pdu.stage !== stage) confused('a login stage that is not this one');
    switch (this.#state) {
      case 'security':
        return this.#afterMethod(pdu, pairs);
      case 'algorithm':
        if (pdu.transit) confused('the end of a stage too early');
        this.#state = 'response';
        return { kind: 'send', step: security(this.#exchange().respond(pairs), true) };
      case 'response':
        this.#exchange().verify(pairs);
        if (!pdu.transit) confused('no end of the stage');
        return this.#toOperational(pdu, pairs);
      default:
        return this.#negotiate(pdu, pairs);
    }
  }

  /** It has come to where the target judges, or has to prove itself. */
  get isJudged(): boolean {
    return this.#state === 'response';
  }

  #exchange(): ChapExchange {
    return this.#chap ?? confused('a CHAP message that nobody asked for');
  }

  #afterMethod(pdu: LoginAnswer, pairs: TextPairs): LoginOutcome {
    const method = new Map(pairs).get('AuthMethod') ?? 'None';
    if (this.#chap !== undefined) {
      if (method !== 'CHAP') {
        throw new PenstockError('DEVICE_REFUSED', 'the target does not use CHAP', {
          hint: 'leave out the user, or let the target ask for it',
        });
      }
      if (pdu.transit) confused('the end of a stage too early');
      this.#state = 'algorithm';
      return { kind: 'send', step: security(chapAlgorithms(this.#algorithms), false) };
    }
    if (method !== 'None') {
      throw new PenstockError('DEVICE_REFUSED', `the target wants authentication (${method})`, {
        hint: 'name a user in the address, and give its secret in PENSTOCK_CHAP_SECRET_FILE',
      });
    }
    // Without a move to the next stage the target wants nothing more either: ask again.
    if (!pdu.transit) return { kind: 'send', step: security([], true) };
    return this.#toOperational(pdu, pairs);
  }

  #toOperational(pdu: LoginAnswer, pairs: TextPairs): LoginOutcome {
    if (pdu.nextStage !== LOGIN_STAGE.operational) confused('a login stage that was not asked for');
    this.#state = 'operational';
    // Some targets declare themselves (TargetPortalGroupTag) already here.
    const answers = this.#keys.take(withoutSecurity(pairs));
    return { kind: 'send', step: operational([...this.#keys.offers(), ...answers]) };
  }

  #negotiate(pdu: LoginAnswer, pairs: TextPairs): LoginOutcome {
    const answers = this.#keys.take(pairs);
    if (!pdu.transit) return { kind: 'send', step: operational(answers) };
    if (pdu.nextStage !== LOGIN_STAGE.full) confused('a login stage that was not asked for');
    if (answers.length > 0) confused('a question together with the end of the login');
    this.#state = 'done';
    return { kind: 'done', parameters: this.#keys.parameters() };
  }
}

function withoutSecurity(pairs: TextPairs): TextPairs {
  return pairs.filter(([key]) => key !== 'AuthMethod' && !key.startsWith('CHAP_'));
}

function security(pairs: TextPairs, transit: boolean): LoginStep {
  const { security: stage, operational: nextStage } = LOGIN_STAGE;
  return { stage, nextStage, transit, pairs };
}

function operational(pairs: TextPairs): LoginStep {
  const { operational: stage, full: nextStage } = LOGIN_STAGE;
  return { stage, nextStage, transit: true, pairs };
}

/** What a status of class 2 (ours) or 3 (the target's) says. */
const REASONS: Readonly<Record<number, string>> = {
  513: 'user or secret is wrong',
  514: 'this machine may not use it',
  515: 'there is no target of that name',
  516: 'the target was removed',
  517: 'the target speaks another version of iSCSI',
  518: 'too many connections',
  519: 'something is missing in the login',
  520: 'the session cannot be joined',
  521: 'it does not know such sessions',
  522: 'there is no such session',
};

function refused(statusClass: number, detail: number): never {
  const status = `status ${statusClass}/${detail}`;
  if (statusClass === 3) {
    throw new PenstockError('DEVICE_BUSY', `the target cannot take a login now (${status})`);
  }
  const reason = REASONS[statusClass * 256 + detail] ?? 'the login was refused';
  throw new PenstockError('DEVICE_REFUSED', `${reason} (${status})`);
}

function confused(what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `the target answered the login with ${what}`);
}
