/**
 * A repository, opened: its settings, keys, archives and index, over an object store.
 *
 * Whatever is read from the store is checked before it is believed. A Repository holds secrets; close
 * it as soon as the work is done.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { decodeKeyring, encodeKeyring, Keyring, type KeyringSecrets, SECRET_BYTES } from '../crypto/keyring.ts';
import { createKeySlot, type KeySlot, openKeySlot, sealKeyring } from '../crypto/key-slot.ts';
import { Sealer } from '../crypto/seal.ts';
import { clearOfRecord, decodeRecord, encodeRecord, finishRecord, RECORD } from '../format/record.ts';
import { type Clock, type Codec, openCodec, type Random } from '../host/mod.ts';
import type { ObjectStore } from '../media/object-store.ts';

/** What was decided when the repository was made. */
export interface RepositorySettings {
  readonly id: string;
  readonly encrypted: boolean;
  readonly blockBytes: number;
  readonly chunkBytes: number;
  readonly createdMs: number;
  /** Without encryption: the keyring itself, base64. */
  readonly keyring?: string;
}

export interface Surroundings {
  readonly clock: Clock;
  readonly random: Random;
}

export type PassphraseProvider = () => Promise<Buffer>;

const PROOF = 'penstock repository';

export class Repository {
  readonly store: ObjectStore;
  readonly settings: RepositorySettings;
  readonly keyring: Keyring;
  readonly codec: Codec;
  readonly sealer: Sealer;
  readonly around: Surroundings;
  /** The key slot that the passphrase opened; empty without encryption. */
  readonly slot: string;

  constructor(store: ObjectStore, settings: RepositorySettings, keyring: Keyring, slot: string, around: Surroundings) {
    this.store = store;
    this.settings = settings;
    this.keyring = keyring;
    this.slot = slot;
    this.around = around;
    this.codec = openCodec(keyring.nameKey);
    this.sealer = new Sealer(keyring, this.codec, around.random);
  }

  /** Same repository with other secrets, after a rotation. */
  with(keyring: Keyring): Repository {
    return new Repository(this.store, this.settings, keyring, this.slot, this.around);
  }

  async close(): Promise<void> {
    this.codec.close();
    await this.store.close();
  }
}

/** CRCs do not need a key. */
function keylessCodec(): Codec {
  return openCodec(Buffer.alloc(SECRET_BYTES));
}

/** Whether the store holds a repository. */
export async function isRepository(store: ObjectStore): Promise<boolean> {
  return (await store.list('repository')).length > 0;
}

/**
 * Makes a repository in an empty store. Without a passphrase it is not encrypted.
 *
 * @throws REPO_EXISTS, REPO_READ_ONLY, REPO_IO, REPO_FULL
 */
export async function createRepository(
  store: ObjectStore,
  passphrase: Buffer | undefined,
  around: Surroundings,
  label = 'first',
): Promise<Repository> {
  if (await isRepository(store)) throw new PenstockError('REPO_EXISTS', `${store.url} holds a repository already`);
  const createdMs = around.clock.nowMs();
  const secrets: KeyringSecrets = {
    root: around.random.bytes(SECRET_BYTES),
    generations: [{ number: 1, seed: around.random.bytes(SECRET_BYTES), createdMs }],
  };
  const settings: RepositorySettings = {
    id: around.random.bytes(16).toString('hex'),
    encrypted: passphrase !== undefined,
    blockBytes: LIMITS.blockRawBytesDefault,
    chunkBytes: LIMITS.chunkBytesDefault,
    createdMs,
    ...(passphrase === undefined ? { keyring: encodeKeyring(secrets).toString('base64') } : {}),
  };
  await store.prepare();
  const repository = new Repository(store, settings, new Keyring(secrets, settings.encrypted), '', around);
  if (passphrase !== undefined) {
    const slot = await createKeySlot(passphrase, secrets, label, createdMs, around.random);
    await putKeySlot(repository, slot);
  }
  const record = repository.sealer.encodeRecord(RECORD.repository, Buffer.from(settings.id, 'hex'), settings, { proof: PROOF });
  // The record comes last: with it the repository exists.
  if (!(await store.put('repository', 'repository', record))) {
    throw new PenstockError('REPO_EXISTS', `${store.url} was made by somebody else just now`);
  }
  return repository;
}

/**
 * Opens a repository. The passphrase is asked for only when one is needed.
 *
 * @throws REPO_MISSING, REPO_FEATURE, PASSPHRASE_WRONG, PASSPHRASE_MISSING, DAMAGED
 */
export async function openRepository(
  store: ObjectStore,
  passphrase: PassphraseProvider,
  around: Surroundings,
): Promise<Repository> {
  if (!(await isRepository(store))) throw new PenstockError('REPO_MISSING', `there is no repository at ${store.url}`);
  const bytes = await store.read('repository', 'repository', LIMITS.recordBytesMax);
  const settings = readSettings(bytes, store.url);
  const { secrets, slot } = settings.encrypted
    ? await unlock(store, await passphrase())
    : { secrets: decodeKeyring(Buffer.from(settings.keyring ?? '', 'base64'), 'the repository'), slot: '' };
  const repository = new Repository(store, settings, new Keyring(secrets, settings.encrypted), slot, around);
  const { sealed } = repository.sealer.decodeRecord<unknown, { proof: string }>(bytes, RECORD.repository, 'the repository record');
  if (sealed.proof !== PROOF) throw new PenstockError('DAMAGED', 'the repository record is damaged');
  return repository;
}

function readSettings(bytes: Buffer, url: string): RepositorySettings {
  const codec = keylessCodec();
  const head = decodeRecord(bytes, 'the repository record', (v, o, l, s) => codec.crc32c(v, o, l, s), false);
  const damaged = (): PenstockError => new PenstockError('DAMAGED', `the repository record of ${url} is damaged`);
  if (head.kind !== RECORD.repository) throw damaged();
  const settings = parse(clearOfRecord(bytes), damaged) as RepositorySettings;
  const { blockBytes, chunkBytes } = settings;
  const fits =
    typeof settings.encrypted === 'boolean' &&
    Number.isInteger(blockBytes) &&
    blockBytes >= LIMITS.blockRawBytesMin &&
    blockBytes <= LIMITS.blockRawBytesMax &&
    Number.isInteger(chunkBytes) &&
    chunkBytes >= blockBytes;
  if (!fits) throw damaged();
  return settings;
}

function parse(bytes: Buffer, damaged: () => PenstockError): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw damaged();
  }
}

/** Key slots ------------------------------------------------------------------------------------ */

const slotName = (slot: KeySlot): string => `${slot.slot}.${slot.revision}`;

async function putKeySlot(repository: Repository, slot: KeySlot): Promise<void> {
  const { codec } = repository;
  const record = encodeRecord(
    {
      kind: RECORD.key,
      encryption: 0,
      features: { compat: 0, readOnlyCompat: 0, incompat: 0 },
      id: Buffer.from(slot.slot.padEnd(32, '0'), 'hex'),
      keyGeneration: 0,
    },
    Buffer.from(JSON.stringify(slot)),
    Buffer.alloc(0),
  );
  finishRecord(record, (v, o, l, s) => codec.crc32c(v, o, l, s));
  const fresh = await repository.store.put('keys', slotName(slot), record);
  if (!fresh) throw new PenstockError('REPO_IO', `key ${slot.slot} was changed by somebody else just now`, { hint: 'try again' });
}

/** All key slots, each at its newest revision. Damaged ones are left out and named in `damaged`. */
export async function listKeySlots(store: ObjectStore): Promise<{ slots: KeySlot[]; damaged: PenstockError[] }> {
  const codec = keylessCodec();
  const newest = new Map<string, KeySlot>();
  const damaged: PenstockError[] = [];
  for (const { name } of await store.list('keys')) {
    try {
      const bytes = await store.read('keys', name, LIMITS.recordBytesMax);
      const head = decodeRecord(bytes, `keys/${name}`, (v, o, l, s) => codec.crc32c(v, o, l, s), false);
      const wrong = (): PenstockError => new PenstockError('DAMAGED', `keys/${name} is damaged`, { subject: `keys/${name}` });
      if (head.kind !== RECORD.key) throw wrong();
      const slot = parse(clearOfRecord(bytes), wrong) as KeySlot;
      if (!isKeySlot(slot) || slotName(slot) !== name) throw wrong();
      const known = newest.get(slot.slot);
      if (known === undefined || known.revision < slot.revision) newest.set(slot.slot, slot);
    } catch (error) {
      if (!(error instanceof PenstockError)) throw error;
      if (error.code !== 'OBJECT_MISSING') damaged.push(error);
    }
  }
  const slots = [...newest.values()].sort((a, b) => a.createdMs - b.createdMs);
  return { slots: slots.slice(0, LIMITS.keySlotsMax), damaged };
}

function isKeySlot(slot: KeySlot): boolean {
  const texts = [slot.slot, slot.label, slot.salt, slot.publicKey, slot.wrapNonce, slot.wrappedPrivate, slot.ephemeralPublic, slot.sealedKeyring];
  return (
    texts.every((text) => typeof text === 'string') &&
    /^[0-9a-f]{16}$/.test(slot.slot) &&
    Number.isInteger(slot.revision) &&
    typeof slot.argon2 === 'object' &&
    Array.isArray(slot.generations)
  );
}

async function unlock(store: ObjectStore, passphrase: Buffer): Promise<{ secrets: KeyringSecrets; slot: string }> {
  const { slots, damaged } = await listKeySlots(store);
  for (const slot of slots) {
    try {
      const secrets = await openKeySlot(slot, passphrase);
      if (secrets !== undefined) return { secrets, slot: slot.slot };
    } catch (error) {
      if (!(error instanceof PenstockError)) throw error;
      damaged.push(error);
    }
  }
  const first = damaged[0];
  if (first !== undefined) throw first;
  if (slots.length === 0) throw new PenstockError('OBJECT_MISSING', `${store.url} has no key`, { hint: 'restore the folder keys from a copy of the repository' });
  throw new PenstockError('PASSPHRASE_WRONG', `no key of ${store.url} opens with this passphrase`);
}

/** Replaces a slot by its next revision. */
async function reviseKeySlot(repository: Repository, slot: KeySlot, secrets: KeyringSecrets): Promise<void> {
  await putKeySlot(repository, sealKeyring(slot, secrets));
  await repository.store.remove('keys', slotName(slot));
}

/** Adds a key for a further passphrase. Returns its id. */
export async function addKey(repository: Repository, passphrase: Buffer, label: string): Promise<string> {
  needsEncryption(repository);
  const { slots } = await listKeySlots(repository.store);
  if (slots.length >= LIMITS.keySlotsMax) throw new PenstockError('LIMIT', `a repository has at most ${LIMITS.keySlotsMax} keys`);
  const { clock, random } = repository.around;
  const slot = await createKeySlot(passphrase, repository.keyring.secrets, label, clock.nowMs(), random);
  await putKeySlot(repository, slot);
  return slot.slot;
}

/** Removes a key by its id or a unique beginning of it. KEY_UNKNOWN, KEY_LAST. */
export async function removeKey(repository: Repository, id: string): Promise<string> {
  needsEncryption(repository);
  const { slots } = await listKeySlots(repository.store);
  const found = slots.filter((slot) => slot.slot.startsWith(id));
  if (found.length !== 1) {
    throw new PenstockError('KEY_UNKNOWN', found.length === 0 ? `no key begins with ${id}` : `several keys begin with ${id}`);
  }
  if (slots.length === 1) throw new PenstockError('KEY_LAST', 'this is the last key: without one nobody could read the repository');
  const slot = must(found[0], 'found');
  for (const { name } of await repository.store.list('keys')) {
    if (name.startsWith(`${slot.slot}.`)) await repository.store.remove('keys', name);
  }
  return slot.slot;
}

/** Replaces the passphrase of the key that opened the repository. Returns the new key's id. */
export async function changePassphrase(repository: Repository, passphrase: Buffer): Promise<string> {
  const { slots } = await listKeySlots(repository.store);
  const own = slots.find((slot) => slot.slot === repository.slot);
  const added = await addKey(repository, passphrase, own?.label ?? '');
  await removeKey(repository, repository.slot);
  return added;
}

/**
 * Makes a new key generation for what is written from now on, for all keys; or, where an earlier
 * rotation was interrupted, completes that one. What was written before stays readable. Returns the
 * repository with it.
 *
 * The own key goes first: whoever writes with the new generation can then always complete it. A key
 * that holds a generation unknown here means that somebody else's rotation is under way.
 */
export async function rotateKeys(repository: Repository): Promise<Repository> {
  needsEncryption(repository);
  const { slots, damaged } = await listKeySlots(repository.store);
  if (damaged[0] !== undefined) throw damaged[0];
  const { clock, random } = repository.around;
  const { secrets } = repository.keyring;
  const { number } = repository.keyring.newest;
  const ahead = slots.find((slot) => slot.generations.some((one) => one > number));
  if (ahead !== undefined) {
    throw new PenstockError('KEY_UNKNOWN', `a rotation was begun with another key and is not complete: ${ahead.slot} has a newer generation`, {
      hint: 'run `penstock key rotate` with the passphrase of that key',
    });
  }
  const behind = slots.filter((slot) => !slot.generations.includes(number));
  if (behind.length > 0) {
    for (const slot of behind) await reviseKeySlot(repository, slot, secrets);
    return repository;
  }
  const next: KeyringSecrets = {
    root: secrets.root,
    generations: [
      ...secrets.generations,
      { number: number + 1, seed: random.bytes(SECRET_BYTES), createdMs: clock.nowMs() },
    ],
  };
  const ordered = [...slots].sort((x, y) => Number(y.slot === repository.slot) - Number(x.slot === repository.slot));
  for (const slot of ordered) await reviseKeySlot(repository, slot, next);
  return repository.with(new Keyring(next, true));
}

function needsEncryption(repository: Repository): void {
  if (!repository.settings.encrypted) {
    throw new PenstockError('USAGE', 'the repository is not encrypted: it has no keys');
  }
}
