/**
 * A repository, opened: its settings, keys, archives and index, over an object store.
 *
 * Whatever is read from the store is checked before it is believed. A Repository holds secrets; close
 * it as soon as the work is done.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { createKeySlot, type KeySlot, openKeySlot } from '../crypto/key-slot.ts';
import {
  decodeKeyring,
  encodeKeyring,
  Keyring,
  type KeyringSecrets,
  SECRET_BYTES,
} from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import type { ObjectStore } from '../format/object-store.ts';
import {
  checkFeatures,
  clearOfRecord,
  decodeRecord,
  type Features,
  jsonOfPart,
  RECORD,
} from '../format/record.ts';
import { type Clock, type Codec, crcOf, openCodec, type Random } from '../host/mod.ts';
import type { MountService } from '../media/mount-requests.ts';
import { readOnlyStore } from '../media/read-only-store.ts';
import type { ChapSource } from '../scsi/iscsi-chap.ts';
import { listKeySlots, slotName } from './key-slots.ts';
import type { PooledStore } from './pooled-store.ts';

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
  /** Secrets for the targets of tape drives; absent: there are none. */
  readonly chap?: ChapSource;
  /** Who brings tapes that are not there; absent: nobody. */
  readonly mounts?: MountService;
  /** A volume, a copy on one, or a drive cannot be used, and another one is taken; absent: nobody is told. */
  readonly onPassedOver?: (error: PenstockError) => void;
  /** Another thread derives a key: what can be got ready meanwhile. */
  readonly whileDeriving?: () => void;
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
  /** The store, where it has pools of volumes. */
  readonly pooled: PooledStore | undefined;

  constructor(
    store: ObjectStore,
    settings: RepositorySettings,
    keyring: Keyring,
    slot: string,
    around: Surroundings,
    pooled?: PooledStore,
  ) {
    this.pooled = pooled;
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
    const { store, settings, slot, around, pooled } = this;
    return new Repository(store, settings, keyring, slot, around, pooled);
  }

  /** Same repository over its storage and its volumes. */
  over(pooled: PooledStore): Repository {
    const { settings, keyring, slot, around } = this;
    return new Repository(pooled, settings, keyring, slot, around, pooled);
  }

  async close(): Promise<void> {
    this.codec.close();
    await this.store.close();
  }
}

/** While a key is derived: loads what a codec needs, and has it tested. */
function getReady({ whileDeriving }: Surroundings): void {
  whileDeriving?.();
  try {
    openCodec(Buffer.alloc(SECRET_BYTES)).close();
  } catch {
    // It fails again where it is used.
  }
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
  note: KeyNote = { label: '', madeBy: '' },
): Promise<Repository> {
  if (await isRepository(store))
    throw new PenstockError('REPO_EXISTS', `${store.url} holds a repository already`);
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
  await refuseData(store);
  const making = passphrase && createKeySlot(passphrase, secrets, createdMs, around.random);
  if (making !== undefined) getReady(around);
  const slot = await making;
  const keyring = new Keyring(secrets, settings.encrypted);
  const repository = new Repository(store, settings, keyring, slot?.slot ?? '', around);
  if (slot !== undefined) await putKeySlot(repository, slot, note);
  const record = repository.sealer.encodeRecord(
    RECORD.repository,
    Buffer.from(settings.id, 'hex'),
    settings,
    { proof: PROOF },
  );
  // Of creations that were interrupted, or are being overtaken just now.
  const others = (await store.list('keys')).filter(
    ({ name }) => !name.startsWith(`${slot?.slot}.`),
  );
  // The record comes last: with it the repository exists.
  if (!(await store.put('repository', 'repository', record))) {
    if (slot !== undefined) await store.remove('keys', slotName(slot));
    repository.codec.close();
    throw new PenstockError('REPO_EXISTS', `${store.url} was made by somebody else just now`);
  }
  for (const { name } of others) await store.remove('keys', name);
  return repository;
}

/** A repository that only lost its record must not be taken for an empty place. */
async function refuseData(store: ObjectStore): Promise<void> {
  for (const kind of ['archives', 'chunks', 'index', 'maps'] as const) {
    if ((await store.list(kind)).length === 0) continue;
    // Somebody else may have made it since it was looked for; the record is there before any data.
    if (await isRepository(store))
      throw new PenstockError('REPO_EXISTS', `${store.url} was made by somebody else just now`);
    throw new PenstockError(
      'DAMAGED',
      `${store.url} holds ${kind} of a repository, but its record "repository" is missing`,
      { hint: 'get the file "repository" back from a copy, or choose another place' },
    );
  }
}

/**
 * Opens a repository. The passphrase is asked for only when one is needed.
 *
 * @throws REPO_MISSING, REPO_FEATURE, PASSPHRASE_WRONG, PASSPHRASE_MISSING, DAMAGED
 */
export async function openRepository(
  stored: ObjectStore,
  passphrase: PassphraseProvider,
  around: Surroundings,
): Promise<Repository> {
  if (!(await isRepository(stored)))
    throw new PenstockError('REPO_MISSING', `there is no repository at ${stored.url}`);
  const bytes = await stored.read('repository', 'repository', LIMITS.recordBytesMax);
  const { settings, features } = readSettings(bytes, stored.url);
  const store = asAllowed(stored, features);
  if (settings.encrypted) return unlock(store, settings, bytes, await passphrase(), around);
  const secrets = decodeKeyring(Buffer.from(settings.keyring ?? '', 'base64'), 'the repository');
  return proven(new Repository(store, settings, new Keyring(secrets, false), '', around), bytes);
}

/** The repository, if its record was sealed with its keyring. DAMAGED otherwise. */
function proven(repository: Repository, record: Buffer): Repository {
  try {
    const { sealed } = repository.sealer.decodeRecord<unknown, { proof: string }>(
      Buffer.from(record),
      RECORD.repository,
      'the repository record',
    );
    if (sealed.proof === PROOF) return repository;
    throw new PenstockError('DAMAGED', 'the repository record is damaged');
  } catch (error) {
    repository.codec.close();
    throw error;
  }
}

/** The store, for reading only where the repository has features that this version cannot write. */
function asAllowed(store: ObjectStore, features: Features): ObjectStore {
  try {
    checkFeatures(features, 'the repository', true);
    return store;
  } catch (error) {
    if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
    return readOnlyStore(store, error);
  }
}

function readSettings(
  bytes: Buffer,
  url: string,
): { settings: RepositorySettings; features: Features } {
  const head = decodeRecord(bytes, 'the repository record', crcOf, false);
  const damaged = (): PenstockError =>
    new PenstockError('DAMAGED', `the repository record of ${url} is damaged`);
  if (head.kind !== RECORD.repository) throw damaged();
  const settings = jsonOfPart(clearOfRecord(bytes), damaged) as RepositorySettings | null;
  if (typeof settings !== 'object' || settings === null) throw damaged();
  const { id, blockBytes, chunkBytes } = settings;
  const fits =
    typeof id === 'string' &&
    /^[0-9a-f]{32}$/.test(id) &&
    typeof settings.encrypted === 'boolean' &&
    blockBytes % LIMITS.blockRawBytesUnit === 0 &&
    blockBytes >= LIMITS.blockRawBytesMin &&
    blockBytes <= LIMITS.blockRawBytesMax &&
    Number.isInteger(chunkBytes) &&
    chunkBytes >= blockBytes;
  if (!fits) throw damaged();
  return { settings, features: head.features };
}

/** Key slots ------------------------------------------------------------------------------------ */

/** What people want to know of a key. It is sealed: storage that is not trusted does not see it. */
export interface KeyNote {
  readonly label: string;
  /** Such as `me@laptop`. */
  readonly madeBy: string;
}

/**
 * Puts a key record. Its clear part is the slot, readable without any key; its seal, by the
 * repository's own key, shows later that the slot was made by somebody who held the repository.
 */
export async function putKeySlot(
  repository: Repository,
  slot: KeySlot,
  note: KeyNote,
): Promise<void> {
  const id = Buffer.from(slot.slot.padEnd(32, '0'), 'hex');
  const record = repository.sealer.encodeRecord(RECORD.key, id, slot, note);
  if (await repository.store.put('keys', slotName(slot), record)) return;
  throw new PenstockError('REPO_IO', `key ${slot.slot} was changed by somebody else just now`, {
    hint: 'try again',
  });
}

/**
 * Opens the repository with the first slot that the passphrase opens and whose keyring is the
 * repository's: a creation that was interrupted leaves a slot that may open but belongs to nothing.
 */
async function unlock(
  store: ObjectStore,
  settings: RepositorySettings,
  record: Buffer,
  passphrase: Buffer,
  around: Surroundings,
): Promise<Repository> {
  const { slots, damaged } = await listKeySlots(store);
  const failures = [...damaged];
  for (const { slot } of slots) {
    try {
      const opening = openKeySlot(slot, passphrase);
      getReady(around);
      const secrets = await opening;
      if (secrets === undefined) continue;
      return proven(
        new Repository(store, settings, new Keyring(secrets, true), slot.slot, around),
        record,
      );
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      failures.push(error);
    }
  }
  const first = failures[0];
  if (first !== undefined) throw first;
  if (slots.length === 0)
    throw new PenstockError('OBJECT_MISSING', `${store.url} has no key`, {
      hint: 'restore the folder keys from a copy of the repository',
    });
  throw new PenstockError('PASSPHRASE_WRONG', `no key of ${store.url} opens with this passphrase`);
}
