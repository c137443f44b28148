/**
 * From a passphrase to the key that opens its slot: Argon2id, by far the longest part of opening a repository.
 *
 * Contract: runs in a thread of Node's own, so that the caller goes on meanwhile. It may be begun before anybody asks
 * for it: who asks then for the very same gets that one, once. Loads next to nothing, for that comes first of all.
 */
export interface Argon2Parameters {
  readonly memoryKiB: number;
  readonly passes: number;
  readonly lanes: number;
}

/** What a slot says of how its key is made. */
export interface Stretching {
  /** 16 bytes, base64. */
  readonly salt: string;
  readonly argon2: Argon2Parameters;
}

/** Above OWASP's least (46 MiB, one pass, one lane): a tenth of a second for every command. */
export const ARGON2_DEFAULT: Argon2Parameters = { memoryKiB: 64 * 1024, passes: 1, lanes: 1 };
/** Bounds on what a stored slot may ask for, so that a foreign one cannot exhaust the machine. */
const ARGON2_MAX: Argon2Parameters = { memoryKiB: 1024 * 1024, passes: 64, lanes: 64 };
export const SALT_BYTES = 16;
const KEY_BYTES = 32;

const crypto = (): typeof import('node:crypto') => process.getBuiltinModule('node:crypto');

/** Whether a slot may ask for this. */
export function canStretch({ salt, argon2 }: Stretching): boolean {
  const { memoryKiB, passes, lanes } = argon2;
  const fits = (value: number, max: number): boolean =>
    Number.isInteger(value) && value >= 1 && value <= max;
  return (
    fits(memoryKiB, ARGON2_MAX.memoryKiB) &&
    fits(passes, ARGON2_MAX.passes) &&
    fits(lanes, ARGON2_MAX.lanes) &&
    // The algorithm's own least.
    memoryKiB >= 8 * lanes &&
    Buffer.from(salt, 'base64').length === SALT_BYTES
  );
}

/** What was begun ahead. `of` tells it from others without keeping the passphrase. */
let begun: { readonly of: string; readonly key: Promise<Buffer> } | undefined;

/** Begins what somebody may ask for soon; how must be possible (canStretch). */
export function stretchAhead(passphrase: Buffer, how: Stretching): void {
  const own = Buffer.from(passphrase);
  const key = derive(own, how).finally(() => own.fill(0));
  // Who asks is told.
  key.catch(() => undefined);
  begun = { of: digestOf(passphrase, how), key };
}

/** The 32 bytes of the key; how must be possible (canStretch). */
export async function stretch(passphrase: Buffer, how: Stretching): Promise<Buffer> {
  const ahead = begun;
  begun = undefined;
  const isIt = ahead !== undefined && ahead.of === digestOf(passphrase, how);
  return isIt ? ahead.key : derive(passphrase, how);
}

function digestOf(passphrase: Buffer, { salt, argon2 }: Stretching): string {
  const { memoryKiB, passes, lanes } = argon2;
  const hash = crypto().createHash('sha256');
  return hash.update(`${salt} ${memoryKiB} ${passes} ${lanes} `).update(passphrase).digest('hex');
}

function derive(passphrase: Buffer, { salt, argon2 }: Stretching): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    crypto().argon2(
      'argon2id',
      {
        message: passphrase,
        nonce: Buffer.from(salt, 'base64'),
        memory: argon2.memoryKiB,
        passes: argon2.passes,
        parallelism: argon2.lanes,
        tagLength: KEY_BYTES,
      },
      (error, key) => (error === null ? resolve(Buffer.from(key)) : reject(error)),
    );
  });
}
