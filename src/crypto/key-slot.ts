/**
 * Key slots: how one passphrase opens a repository.
 *
 * Each slot has an X25519 key pair. Its private key is wrapped with a key that Argon2id makes from the
 * passphrase; the keyring is sealed to its public key. So a key can be rotated, or a keyring widened,
 * for every slot without knowing the other passphrases.
 *
 *   wrapping: AES-256-GCM, key = Argon2id(passphrase, salt), random nonce, associated data = slot id
 *   sealing:  key = HKDF-SHA256(X25519(ephemeral, public), ephemeral public | public, "penstock keyring"),
 *             AES-256-GCM, nonce zero (the key is used once), associated data = slot id | u32 revision
 *
 * A slot that somebody without the secrets planted cannot hold the repository's generations, and the
 * repository record, sealed with the first of them, then does not open. Nor must such a slot ever be
 * given a keyring: the record around a slot is sealed with the repository's key (mover/keys.ts).
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { PenstockError } from '../base/errors.ts';
import { hkdfSha256, type Random } from '../host/mod.ts';
import { decodeKeyring, encodeKeyring, type KeyringSecrets } from './keyring.ts';
import {
  ARGON2_DEFAULT,
  type Argon2Parameters,
  canStretch,
  SALT_BYTES,
  type Stretching,
  stretch,
} from './stretch.ts';

/** A slot as it is stored; all byte fields base64. */
export interface KeySlot extends Stretching {
  readonly slot: string;
  readonly revision: number;
  readonly createdMs: number;
  readonly publicKey: string;
  readonly wrapNonce: string;
  readonly wrappedPrivate: string;
  readonly ephemeralPublic: string;
  readonly sealedKeyring: string;
  /** Numbers of the generations inside, so that a slot left behind by a rotation is seen. */
  readonly generations: readonly number[];
}

const TAG_BYTES = 16;

/** Makes a new slot for a passphrase. */
export async function createKeySlot(
  passphrase: Buffer,
  secrets: KeyringSecrets,
  nowMs: number,
  random: Random,
  parameters: Argon2Parameters = ARGON2_DEFAULT,
): Promise<KeySlot> {
  const slot = random.bytes(8).toString('hex');
  const salt = random.bytes(SALT_BYTES).toString('base64');
  const wrapNonce = random.bytes(12);
  const stretching = stretch(passphrase, { salt, argon2: parameters });
  const pair = generateKeyPairSync('x25519');
  const privateBytes = rawKey(pair.privateKey, 'd');
  const publicBytes = rawKey(pair.publicKey, 'x');
  const wrappingKey = await stretching;
  const cipher = createCipheriv('aes-256-gcm', wrappingKey, wrapNonce);
  cipher.setAAD(Buffer.from(slot, 'hex'));
  const wrapped = Buffer.concat([cipher.update(privateBytes), cipher.final(), cipher.getAuthTag()]);
  return sealKeyring(
    {
      slot,
      revision: 0,
      createdMs: nowMs,
      argon2: parameters,
      salt,
      publicKey: publicBytes.toString('base64'),
      wrapNonce: wrapNonce.toString('base64'),
      wrappedPrivate: wrapped.toString('base64'),
      ephemeralPublic: '',
      sealedKeyring: '',
      generations: [],
    },
    secrets,
  );
}

/** The next revision of a slot, holding these secrets. Needs no passphrase. */
export function sealKeyring(slot: KeySlot, secrets: KeyringSecrets): KeySlot {
  const revision = slot.revision + 1;
  const ephemeral = generateKeyPairSync('x25519');
  const ephemeralPublic = rawKey(ephemeral.publicKey, 'x');
  const publicBytes = Buffer.from(slot.publicKey, 'base64');
  const shared = diffieHellman({
    privateKey: ephemeral.privateKey,
    publicKey: publicKeyOf(publicBytes),
  });
  const cipher = createCipheriv(
    'aes-256-gcm',
    sealingKey(shared, ephemeralPublic, publicBytes),
    Buffer.alloc(12),
  );
  cipher.setAAD(slotAssociatedData(slot.slot, revision));
  const sealed = Buffer.concat([
    cipher.update(encodeKeyring(secrets)),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return {
    ...slot,
    revision,
    ephemeralPublic: ephemeralPublic.toString('base64'),
    sealedKeyring: sealed.toString('base64'),
    generations: secrets.generations.map((one) => one.number),
  };
}

/** Opens a slot; undefined when the passphrase is not its own. DAMAGED when the slot is torn. */
export async function openKeySlot(
  slot: KeySlot,
  passphrase: Buffer,
): Promise<KeyringSecrets | undefined> {
  if (!canStretch(slot)) {
    throw new PenstockError('DAMAGED', `key ${slot.slot} asks for impossible Argon2id parameters`, {
      subject: slot.slot,
    });
  }
  const wrappingKey = await stretch(passphrase, slot);
  const privateBytes = decrypt(
    wrappingKey,
    Buffer.from(slot.wrapNonce, 'base64'),
    Buffer.from(slot.slot, 'hex'),
    Buffer.from(slot.wrappedPrivate, 'base64'),
  );
  if (privateBytes === undefined) return undefined;
  const publicBytes = Buffer.from(slot.publicKey, 'base64');
  const ephemeralPublic = Buffer.from(slot.ephemeralPublic, 'base64');
  const torn = (cause?: unknown): PenstockError =>
    new PenstockError('DAMAGED', `key ${slot.slot} is damaged: its keyring does not open`, {
      cause,
      subject: slot.slot,
    });
  let shared: Buffer;
  try {
    shared = diffieHellman({
      privateKey: privateKeyOf(privateBytes, publicBytes),
      publicKey: publicKeyOf(ephemeralPublic),
    });
  } catch (error) {
    throw torn(error);
  }
  const keyring = decrypt(
    sealingKey(shared, ephemeralPublic, publicBytes),
    Buffer.alloc(12),
    slotAssociatedData(slot.slot, slot.revision),
    Buffer.from(slot.sealedKeyring, 'base64'),
  );
  if (keyring === undefined) throw torn();
  return decodeKeyring(keyring, `key ${slot.slot}`);
}

function decrypt(
  key: Buffer,
  nonce: Buffer,
  associated: Buffer,
  sealed: Buffer,
): Buffer | undefined {
  if (sealed.length < TAG_BYTES || nonce.length !== 12) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  try {
    return Buffer.concat([
      decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)),
      decipher.final(),
    ]);
  } catch {
    return undefined;
  }
}

function sealingKey(shared: Buffer, ephemeralPublic: Buffer, publicBytes: Buffer): Buffer {
  const salt = Buffer.concat([ephemeralPublic, publicBytes]);
  return hkdfSha256(shared, salt, 'penstock keyring', 32);
}

function slotAssociatedData(slot: string, revision: number): Buffer {
  const bytes = Buffer.alloc(12);
  Buffer.from(slot, 'hex').copy(bytes);
  bytes.writeUInt32LE(revision, 8);
  return bytes;
}

function rawKey(key: KeyObject, field: 'd' | 'x'): Buffer {
  return Buffer.from(key.export({ format: 'jwk' })[field] ?? '', 'base64url');
}

function publicKeyOf(x: Buffer): KeyObject {
  return createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'X25519', x: x.toString('base64url') },
  });
}

function privateKeyOf(d: Buffer, x: Buffer): KeyObject {
  return createPrivateKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'X25519', d: d.toString('base64url'), x: x.toString('base64url') },
  });
}
