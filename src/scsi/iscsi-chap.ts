/**
 * CHAP in iSCSI logins (RFC 7143, 12.1.3; RFC 1994), one-way and mutual. Pure but for randomness given.
 *
 * Contract: secrets appear in no message. The target is believed only if its response is right, compared in
 * constant time; it may not use the secret or the challenge that it was given itself, which is what somebody
 * who knows no secret and plays our own answers back to us would do.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { PenstockError } from '../base/errors.ts';
import type { Random } from '../host/mod.ts';
import type { TextPairs } from './iscsi-text.ts';

/** Who this machine is to a target, and what the target is to say in return. */
export interface ChapSecrets {
  readonly user: string;
  readonly secret: Uint8Array;
  /** Mutual: the target proves that it knows this one. */
  readonly target?: {
    /** Any, if absent. */
    readonly user?: string;
    readonly secret: Uint8Array;
  };
}

/** Given for the user of an address; undefined where it has none: then nobody has to prove anything. */
export type ChapSource = (user: string | undefined) => Promise<ChapSecrets | undefined>;

/** IANA's numbers; the better ones first. */
const ALGORITHMS: ReadonlyMap<string, string> = new Map([
  ['7', 'sha256'],
  ['6', 'sha1'],
  ['5', 'md5'],
]);
const CHALLENGE_BYTES = 16;
const CHALLENGE_BYTES_MAX = 1024;

export const CHAP_ALL: readonly string[] = [...ALGORITHMS.keys()];
/** What every target can do. */
export const CHAP_MD5: readonly string[] = ['5'];

/** The first message: what we can do. */
export function chapAlgorithms(algorithms: readonly string[]): TextPairs {
  return [['CHAP_A', algorithms.join(',')]];
}

export function chapResponse(
  hash: string,
  identifier: number,
  secret: Uint8Array,
  challenge: Uint8Array,
): Buffer {
  return createHash(hash).update(Buffer.of(identifier)).update(secret).update(challenge).digest();
}

/** One exchange: made with the secrets, given each of the target's two messages. */
export class ChapExchange {
  readonly #secrets: ChapSecrets;
  readonly #random: Random;
  #hash = '';
  #identifier = 0;
  #challenge: Buffer = Buffer.alloc(0);

  constructor(secrets: ChapSecrets, random: Random) {
    this.#secrets = secrets;
    this.#random = random;
  }

  /** The target's challenge; returns our response, and a challenge of our own when mutual. */
  respond(pairs: TextPairs): TextPairs {
    const values = new Map(pairs);
    this.#hash = ALGORITHMS.get(values.get('CHAP_A') ?? '') ?? broken('no algorithm of ours');
    const identifier = identifierOf(values.get('CHAP_I'));
    const challenge = bytesOf(values.get('CHAP_C'));
    if (challenge.length === 0) broken('an empty challenge');
    const { user, secret, target } = this.#secrets;
    const response = chapResponse(this.#hash, identifier, secret, challenge);
    const answer: [string, string][] = [
      ['CHAP_N', user],
      ['CHAP_R', hexadecimal(response)],
    ];
    if (target === undefined) return answer;
    if (sameBytes(secret, target.secret)) {
      throw new PenstockError('DEVICE_REFUSED', 'both directions of CHAP have the same secret', {
        hint: 'give the target a secret of its own: with one for both, anybody could answer',
      });
    }
    this.#identifier = this.#random.bytes(1).readUInt8(0);
    this.#challenge = this.#random.bytes(CHALLENGE_BYTES);
    if (sameBytes(this.#challenge, challenge)) broken('our own challenge');
    answer.push(['CHAP_I', String(this.#identifier)], ['CHAP_C', hexadecimal(this.#challenge)]);
    return answer;
  }

  /** The target's last message; throws unless it has proven what it had to. */
  verify(pairs: TextPairs): void {
    const { target } = this.#secrets;
    if (target === undefined) return;
    const values = new Map(pairs);
    const wanted = chapResponse(this.#hash, this.#identifier, target.secret, this.#challenge);
    const response = values.get('CHAP_R');
    const isRight =
      response !== undefined &&
      this.#challenge.length > 0 &&
      sameBytes(bytesOf(response), wanted) &&
      (target.user === undefined || target.user === values.get('CHAP_N'));
    if (!isRight) {
      throw new PenstockError('DEVICE_REFUSED', 'the target does not know its own CHAP secret', {
        hint: 'is it the right target? check the secret for the way back',
      });
    }
  }
}

function identifierOf(text: string | undefined): number {
  const value = /^(?:\d{1,3}|0[xX][0-9a-fA-F]{1,2})$/.test(text ?? '') ? Number(text) : 256;
  return value < 256 ? value : broken('a wrong identifier');
}

/** Binary values are hexadecimal (0x) or base64 (0b). */
function bytesOf(text: string | undefined): Buffer {
  const [, hex, base64] =
    /^0(?:[xX]([0-9a-fA-F]+)|[bB]([A-Za-z0-9+/]+={0,2}))$/.exec(text ?? '') ?? [];
  const bytes =
    hex === undefined
      ? Buffer.from(base64 ?? '', 'base64')
      : Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return bytes.length > CHALLENGE_BYTES_MAX ? broken('a value that is too long') : bytes;
}

function hexadecimal(bytes: Buffer): string {
  return `0x${bytes.toString('hex')}`;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function broken(what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `the target's CHAP message has ${what}`);
}
