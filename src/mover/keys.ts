/**
 * The keys of a repository: adding, removing and changing passphrases, new key generations.
 *
 * Storage is not trusted: whoever can write to it can plant a key slot of their own. Only a slot whose
 * record is sealed with the repository's key counts as a key here; a planted one is shown as foreign,
 * may be removed, and is never given a keyring.
 */
import { must } from '../base/assert.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { createKeySlot, type KeySlot, sealKeyring } from '../crypto/key-slot.ts';
import { Keyring, type KeyringSecrets, SECRET_BYTES } from '../crypto/keyring.ts';
import { RECORD } from '../format/record.ts';
import { listKeySlots, type StoredKeySlot, slotName } from './key-slots.ts';
import { type KeyNote, putKeySlot, type Repository } from './repository.ts';

/** A key that opens the repository. */
export interface RepositoryKey extends KeyNote {
  readonly slot: KeySlot;
}

export interface RepositoryKeys {
  /** Oldest first. */
  readonly keys: readonly RepositoryKey[];
  /** Slots that nobody with the repository's key made, or that a rotation elsewhere is ahead of. */
  readonly foreign: readonly { readonly slot: KeySlot; readonly error: PenstockError }[];
  readonly damaged: readonly PenstockError[];
}

/** All keys of an encrypted repository; USAGE when it is not encrypted. */
export async function listKeys(repository: Repository): Promise<RepositoryKeys> {
  if (!repository.settings.encrypted) {
    throw new PenstockError('USAGE', 'the repository is not encrypted: it has no keys', {
      hint: 'an unencrypted repository stays so; make another one to encrypt',
    });
  }
  const { slots, damaged } = await listKeySlots(repository.store);
  const keys: RepositoryKey[] = [];
  const foreign: { slot: KeySlot; error: PenstockError }[] = [];
  for (const stored of slots) {
    try {
      keys.push({ slot: stored.slot, ...noteOf(repository, stored) });
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      foreign.push({ slot: stored.slot, error });
    }
  }
  return { keys, foreign, damaged };
}

/** Checks the seal around a slot. DAMAGED, KEY_UNKNOWN. */
function noteOf(repository: Repository, { slot, record }: StoredKeySlot): KeyNote {
  const subject = `keys/${slotName(slot)}`;
  const { sealed } = repository.sealer.decodeRecord<KeySlot, Partial<KeyNote> | undefined>(
    Buffer.from(record),
    RECORD.key,
    subject,
  );
  const { label, madeBy } = sealed ?? {};
  if (typeof label === 'string' && typeof madeBy === 'string') return { label, madeBy };
  throw new PenstockError('DAMAGED', `${subject} is damaged`, { subject });
}

/** Adds a key for a further passphrase. Returns its id. LIMIT, REPO_READ_ONLY. */
export async function addKey(
  repository: Repository,
  passphrase: Buffer,
  note: KeyNote,
): Promise<string> {
  const { keys, foreign } = await listKeys(repository);
  if (keys.length + foreign.length >= LIMITS.keySlotsMax) {
    throw new PenstockError('LIMIT', `a repository has at most ${LIMITS.keySlotsMax} keys`, {
      hint: 'remove one with `penstock key remove`',
    });
  }
  const { clock, random } = repository.around;
  const slot = await createKeySlot(passphrase, repository.keyring.secrets, clock.nowMs(), random);
  await putKeySlot(repository, slot, note);
  return slot.slot;
}

/** Removes a key by its id or a unique beginning of it. Returns its id. KEY_UNKNOWN, KEY_LAST. */
export async function removeKey(repository: Repository, id: string): Promise<string> {
  const { keys, foreign } = await listKeys(repository);
  const wanted = id.toLowerCase();
  const slots = [...keys, ...foreign].map((key) => key.slot.slot);
  const found = slots.filter((slot) => slot.startsWith(wanted));
  if (wanted === '' || found.length !== 1) {
    const several = `${found.length} keys have an id that begins with ${id}`;
    throw new PenstockError(
      'KEY_UNKNOWN',
      found.length === 0 ? `no key has an id that begins with ${id}` : several,
    );
  }
  const only = must(found[0], 'found');
  if (keys.length === 1 && keys[0]?.slot.slot === only) {
    throw new PenstockError(
      'KEY_LAST',
      'this is the last key: without one nobody could read the repository',
    );
  }
  await removeSlot(repository, only);
  return only;
}

async function removeSlot(repository: Repository, slot: string): Promise<void> {
  for (const { name } of await repository.store.list('keys')) {
    if (name.startsWith(`${slot}.`)) await repository.store.remove('keys', name);
  }
}

/** Replaces the passphrase of the key that opened the repository. Returns the new key's id. */
export async function changePassphrase(
  repository: Repository,
  passphrase: Buffer,
  madeBy: string,
): Promise<string> {
  const { keys } = await listKeys(repository);
  const own = keys.find((key) => key.slot.slot === repository.slot);
  const added = await addKey(repository, passphrase, { label: own?.label ?? '', madeBy });
  await removeSlot(repository, repository.slot);
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
  const { keys, foreign, damaged } = await listKeys(repository);
  if (damaged[0] !== undefined) throw damaged[0];
  const { number } = repository.keyring.newest;
  const { secrets } = repository.keyring;
  const ahead =
    keys.find(({ slot }) => slot.generations.some((one) => one > number)) ??
    foreign.find(({ error }) => error.code === 'KEY_UNKNOWN');
  if (ahead !== undefined) {
    throw new PenstockError(
      'KEY_UNKNOWN',
      `a rotation was begun with another key and is not complete: ${ahead.slot.slot} has a newer generation`,
      { hint: 'run `penstock key rotate` with the passphrase of that key' },
    );
  }
  const behind = keys.filter(({ slot }) => !slot.generations.includes(number));
  if (behind.length > 0) {
    for (const key of behind) await reviseKey(repository, key, secrets);
    return repository;
  }
  const { clock, random } = repository.around;
  const next: KeyringSecrets = {
    root: secrets.root,
    generations: [
      ...secrets.generations,
      { number: number + 1, seed: random.bytes(SECRET_BYTES), createdMs: clock.nowMs() },
    ],
  };
  const own = (key: RepositoryKey): number => Number(key.slot.slot === repository.slot);
  // Sealed with the old generation, which the keys that are still behind can check.
  for (const key of [...keys].sort((a, b) => own(b) - own(a)))
    await reviseKey(repository, key, next);
  return repository.with(new Keyring(next, true));
}

/** Replaces a slot by its next revision. */
async function reviseKey(
  repository: Repository,
  key: RepositoryKey,
  secrets: KeyringSecrets,
): Promise<void> {
  const { label, madeBy, slot } = key;
  await putKeySlot(repository, sealKeyring(slot, secrets), { label, madeBy });
  await repository.store.remove('keys', slotName(slot));
}
