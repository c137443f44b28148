/**
 * The keys of a repository, as secrets in memory.
 *
 * A keyring holds one root secret, made once, and one seed per key generation. From the root come the
 * keys that must stay the same for duplicates to be found: blob names, cutting, index authentication,
 * pseudonyms. From a generation's seed come the keys that seal what is written: blocks and records.
 * `key rotate` adds a generation; older ones stay readable. All derivations are HKDF-SHA256 with the
 * secret as input key, an empty salt and the purpose as info (docs/format.md, "Keys").
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { hkdfSha256 } from '../host/mod.ts';

export const SECRET_BYTES = 32;

export interface Generation {
  readonly number: number;
  readonly seed: Buffer;
  readonly createdMs: number;
}

export interface KeyringSecrets {
  readonly root: Buffer;
  readonly generations: readonly Generation[];
}

/** HKDF-SHA256 of `secret` for one purpose, 32 bytes. */
export function deriveKey(secret: Uint8Array, purpose: string): Buffer {
  return hkdfSha256(secret, Buffer.alloc(0), `penstock ${purpose}`, SECRET_BYTES);
}

export class Keyring {
  readonly secrets: KeyringSecrets;
  /** Whether blocks and records are encrypted at all. */
  readonly encrypted: boolean;
  readonly nameKey: Buffer;
  readonly cutKey: Buffer;
  readonly indexKey: Buffer;
  readonly pseudonymKey: Buffer;
  readonly #blockKeys = new Map<number, Buffer>();
  readonly #recordKeys = new Map<number, Buffer>();

  constructor(secrets: KeyringSecrets, encrypted: boolean) {
    this.secrets = secrets;
    this.encrypted = encrypted;
    this.nameKey = deriveKey(secrets.root, 'blob names');
    this.cutKey = deriveKey(secrets.root, 'cutting');
    this.indexKey = deriveKey(secrets.root, 'index');
    this.pseudonymKey = deriveKey(secrets.root, 'pseudonyms');
    for (const generation of secrets.generations) {
      this.#blockKeys.set(generation.number, deriveKey(generation.seed, 'blocks'));
      this.#recordKeys.set(generation.number, deriveKey(generation.seed, 'records'));
    }
  }
  /** The generation that new data is sealed with. */
  get newest(): Generation {
    return must(this.secrets.generations.at(-1), 'a keyring has a generation');
  }
  blockKey(generation: number): Buffer {
    return this.#known(this.#blockKeys, generation);
  }
  recordKey(generation: number): Buffer {
    return this.#known(this.#recordKeys, generation);
  }
  #known(keys: ReadonlyMap<number, Buffer>, generation: number): Buffer {
    const key = keys.get(generation);
    if (key === undefined) {
      throw new PenstockError(
        'KEY_UNKNOWN',
        `data was sealed with key generation ${generation}, which this key does not hold`,
      );
    }
    return key;
  }
}

/** The plain form in which a keyring crosses to a worker thread of the same process. */
export interface KeyringRecord {
  readonly root: Uint8Array;
  readonly generations: readonly { number: number; seed: Uint8Array; createdMs: number }[];
  readonly encrypted: boolean;
}

export function toKeyringRecord(keyring: Keyring): KeyringRecord {
  return {
    root: Uint8Array.from(keyring.secrets.root),
    generations: keyring.secrets.generations.map((one) => ({
      ...one,
      seed: Uint8Array.from(one.seed),
    })),
    encrypted: keyring.encrypted,
  };
}

export function fromKeyringRecord(record: KeyringRecord): Keyring {
  return new Keyring(
    {
      root: Buffer.from(record.root),
      generations: record.generations.map((one) => ({ ...one, seed: Buffer.from(one.seed) })),
    },
    record.encrypted,
  );
}

/** JSON of a keyring, before it is sealed (key-slot.ts) or, without encryption, as it is stored. */
export function encodeKeyring(secrets: KeyringSecrets): Buffer {
  return Buffer.from(
    JSON.stringify({
      root: secrets.root.toString('base64'),
      generations: secrets.generations.map((one) => ({
        number: one.number,
        seed: one.seed.toString('base64'),
        createdMs: one.createdMs,
      })),
    }),
  );
}

/** Reads what encodeKeyring wrote; DAMAGED when it is of another form. */
export function decodeKeyring(bytes: Buffer, subject: string): KeyringSecrets {
  const bad = (cause?: unknown): PenstockError =>
    new PenstockError('DAMAGED', `the keyring of ${subject} cannot be read`, { cause, subject });
  let parsed: { root?: unknown; generations?: unknown } | null;
  try {
    parsed = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw bad(error);
  }
  if (typeof parsed?.root !== 'string' || !Array.isArray(parsed.generations)) throw bad();
  const generations = parsed.generations.map((one: Record<string, unknown> | null) => {
    const seed = Buffer.from(String(one?.seed), 'base64');
    if (one === null || !Number.isInteger(one.number) || seed.length !== SECRET_BYTES) throw bad();
    return { number: one.number as number, seed, createdMs: Number(one.createdMs) };
  });
  generations.sort((a, b) => a.number - b.number);
  const root = Buffer.from(parsed.root, 'base64');
  if (root.length !== SECRET_BYTES || generations.length === 0) throw bad();
  return { root, generations };
}
