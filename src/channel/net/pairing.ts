/**
 * Pairing by one-time tokens: how two machines come to know each other's certificates.
 *
 * The token, as text: base64url of
 *
 *     offset  bytes  what
 *          0      1  version, 1
 *          1     32  SHA-256 of the server's certificate (DER)
 *         33     16  secret, random
 *
 * Contract: whoever has the token once within its hour is granted what it was made for; the server
 * keeps only the secret's SHA-256. The client learns the server's fingerprint from the token and so
 * sends the secret to nobody else; the server learns the client's from the connection. A token is
 * used up by removing its file: of several that use it at once one gets through.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Clock, Random } from '../../host/mod.ts';
import { ApiClient } from './api-client.ts';
import type { Identity } from './identity.ts';
import {
  type Access,
  formatAddress,
  isAccess,
  isPeerName,
  isQuota,
  isTexts,
  type Peer,
} from './peers.ts';
import type { StateFolder } from './state-folder.ts';

/** What a token grants. */
export interface Grant {
  readonly access: readonly Access[];
  readonly copyPaths: readonly string[];
  readonly modules?: readonly string[];
  readonly onward?: readonly string[];
  readonly quotaBytes?: number | undefined;
}

interface PendingToken extends Grant {
  readonly expiresMs: number;
}

const VERSION = 1;
const FINGERPRINT_BYTES = 32;
const SECRET_BYTES = 16;
const TOKEN_BYTES = 1 + FINGERPRINT_BYTES + SECRET_BYTES;
const FOLDER = 'tokens';

/** What the client learns from a token. */
export interface TokenContent {
  readonly fingerprint: string;
  /** base64url. */
  readonly secret: string;
}

export function encodeToken({ fingerprint, secret }: TokenContent): string {
  return Buffer.concat([
    Uint8Array.of(VERSION),
    Buffer.from(fingerprint, 'hex'),
    Buffer.from(secret, 'base64url'),
  ]).toString('base64url');
}

/** PAIRING_REFUSED. */
export function decodeToken(text: string): TokenContent {
  const bytes = Buffer.from(text, 'base64url');
  if (
    bytes.length !== TOKEN_BYTES ||
    bytes[0] !== VERSION ||
    bytes.toString('base64url') !== text
  ) {
    throw new PenstockError('PAIRING_REFUSED', 'that is no pairing token of this version', {
      hint: 'copy the whole line that `penstock pair token` printed',
    });
  }
  return {
    fingerprint: bytes.toString('hex', 1, 1 + FINGERPRINT_BYTES),
    secret: bytes.toString('base64url', 1 + FINGERPRINT_BYTES),
  };
}

/** The tokens of a server that were not used yet; several processes may use it at once. */
export class PendingTokens {
  readonly #state: StateFolder;
  readonly #clock: Pick<Clock, 'nowMs'>;

  constructor(state: StateFolder, clock: Pick<Clock, 'nowMs'>) {
    this.#state = state;
    this.#clock = clock;
  }

  /** Makes a token; `expiresMs` is when it ends. LIMIT, HOST_IO. */
  create(identity: Identity, grant: Grant, random: Random): { token: string; expiresMs: number } {
    if (this.#pending().length >= LIMITS.pairTokensMax) {
      throw new PenstockError('LIMIT', 'too many pairing tokens wait to be used', {
        hint: 'each ends by itself after an hour',
      });
    }
    const secret = random.bytes(SECRET_BYTES).toString('base64url');
    const expiresMs = this.#clock.nowMs() + LIMITS.pairTokenMs;
    const pending: PendingToken = { ...grant, expiresMs };
    const file = `${FOLDER}/${digestOf(secret)}.json`;
    this.#state.create(file, Buffer.from(`${JSON.stringify(pending)}\n`));
    return { token: encodeToken({ fingerprint: identity.fingerprint, secret }), expiresMs };
  }

  /** Uses a token up and tells what it grants; undefined where it is not (or no longer) good. */
  use(secret: string): Grant | undefined {
    const digest = Buffer.from(digestOf(secret));
    const file = this.#pending().find((name) => {
      const known = Buffer.from(name.slice(0, -'.json'.length));
      return known.length === digest.length && timingSafeEqual(known, digest);
    });
    if (file === undefined) return undefined;
    const pending = parsePending(this.#state.read(`${FOLDER}/${file}`));
    if (!this.#state.remove(`${FOLDER}/${file}`)) return undefined;
    return pending;
  }

  /** The files of tokens that are still good; others are removed. */
  #pending(): string[] {
    const nowMs = this.#clock.nowMs();
    return this.#state.list(FOLDER).filter((file) => {
      const pending = parsePending(this.#state.read(`${FOLDER}/${file}`));
      // A clock that was set back does not make an old token good for longer.
      const left = (pending?.expiresMs ?? 0) - nowMs;
      if (left > 0 && left <= LIMITS.pairTokenMs) return true;
      this.#state.remove(`${FOLDER}/${file}`);
      return false;
    });
  }
}

function digestOf(secret: string): string {
  return createHash('sha256').update(Buffer.from(secret, 'base64url')).digest('hex');
}

function parsePending(bytes: Buffer | undefined): PendingToken | undefined {
  try {
    const value = JSON.parse(bytes?.toString('utf8') ?? '') as Partial<PendingToken>;
    const { access, copyPaths, modules = [], onward = [], quotaBytes, expiresMs } = value;
    if (!Array.isArray(access) || !access.every(isAccess)) return;
    if (!isTexts(copyPaths) || !isTexts(modules) || !isTexts(onward)) return;
    if (typeof expiresMs !== 'number' || !isQuota(quotaBytes)) return;
    return { access, copyPaths, modules, onward, quotaBytes, expiresMs };
  } catch {
    return undefined;
  }
}

/** What POST /v1/pair is sent. */
export interface PairRequest {
  readonly secret: string;
  /** What the client is to be called. */
  readonly name: string;
}

/** What it answers. */
export interface PairAnswer {
  /** What the server calls itself. */
  readonly name: string;
  /** What it calls the client from now on. */
  readonly calledName: string;
  readonly access: readonly Access[];
  readonly repositories: readonly string[];
}

/**
 * The client's half of pairing: shows its certificate and the token's secret to the server that the
 * token names. Returns the server as a peer, to be stored, and what was granted.
 *
 * @throws NET_UNREACHABLE, NET_UNTRUSTED (another machine answered), PAIRING_REFUSED, NET_PROTOCOL
 */
export async function pairWith(
  identity: Identity,
  { host, port }: { readonly host: string; readonly port: number },
  { fingerprint, secret }: TokenContent,
  own: { readonly name: string; readonly nowMs: number; readonly signal?: AbortSignal },
): Promise<{ server: Peer; answer: PairAnswer }> {
  const client = new ApiClient(identity, { host, port, fingerprint });
  const address = formatAddress(host, port);
  try {
    const body: PairRequest = { secret, name: own.name };
    const { signal } = own;
    const options = signal === undefined ? { body } : { body, signal };
    const answer = await client.json<PairAnswer>('POST', '/v1/pair', options);
    if (typeof answer.name !== 'string' || !isPeerName(answer.name)) {
      throw new PenstockError('NET_PROTOCOL', `${address} has no name`, { subject: address });
    }
    const server: Peer = {
      name: answer.name,
      fingerprint,
      kind: 'server',
      address,
      pairedMs: own.nowMs,
      access: [],
      copyPaths: [],
    };
    return { server, answer };
  } catch (error) {
    throw otherMachine(error, address);
  } finally {
    client.close();
  }
}

/** While pairing the pinned fingerprint comes from the token, so the advice is another one. */
function otherMachine(error: unknown, address: string): unknown {
  if (!(error instanceof PenstockError) || error.code !== 'NET_UNTRUSTED') return error;
  return new PenstockError('NET_UNTRUSTED', `the token was not made by ${address}`, {
    subject: address,
    hint: 'check the address and the token; if both are right, somebody is in between',
  });
}
