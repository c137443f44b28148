/**
 * Reads every small object of a repository but the index, and says which are not as they should be.
 */
import { isOutOfReach, PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ObjectKind, StoredObject } from '../format/object-store.ts';
import { clearOfRecord, decodeRecord, RECORD } from '../format/record.ts';
import { compareByTime, type RecordedArchive, readArchiveHead } from './archives.ts';
import type { DamageList } from './check-damage.ts';
import { listForgotten } from './forgotten.ts';
import { slotName } from './key-slots.ts';
import { listKeys } from './keys.ts';
import { readLeases } from './leases.ts';
import { protocolStore } from './protocol-adapter.ts';
import { runProtocol } from './protocol-store.ts';
import type { Repository } from './repository.ts';
import { leasePolicy } from './session.ts';
import { isSessionMap, readMapRecord, readSessionMap, type SessionMap } from './storage-map.ts';

/** The names that the objects of each kind have; anything else there is foreign. */
const NAMES: Readonly<Record<ObjectKind, RegExp>> = {
  repository: /^repository$/,
  keys: /^[0-9a-f]{16}\.[0-9]+$/,
  archives: /^[0-9a-f]{32}$/,
  pending: /^[0-9a-f]{32}$/,
  chunks: /^[0-9a-f]{32}$/,
  index: /^[0-9a-f]{32}$/,
  // Later versions may keep other things here.
  maps: /^[a-z]+(-[0-9a-f]{32})+$/,
  leases: /^[0-9a-f]{32}$/,
  condemned: /^[0-9a-f]{32}$/,
  deleting: /^[0-9a-f]{32}$/,
  verdicts: /^[0-9a-f]{32}$/,
};

/** How a damaged object of each kind is called. */
const WORDS: Readonly<Record<ObjectKind, string>> = {
  repository: 'repository record',
  keys: 'key',
  archives: 'archive',
  pending: 'pending archive',
  chunks: 'chunk',
  index: 'index segment',
  maps: 'map record',
  leases: 'lease',
  condemned: 'condemn record',
  deleting: 'deletion mark',
  verdicts: 'verdict',
};

const PLAIN_RECORDS: readonly (readonly [ObjectKind, number])[] = [
  ['leases', RECORD.lease],
  ['condemned', RECORD.condemn],
  ['deleting', RECORD.deleting],
  ['verdicts', RECORD.verdict],
];

/** Lists the objects of a kind that have names of that kind; others are reported as foreign. */
export async function listNamed(
  repository: Repository,
  kind: ObjectKind,
  damages: DamageList,
): Promise<StoredObject[]> {
  let listed: StoredObject[];
  try {
    listed = await repository.store.list(kind);
  } catch (error) {
    const { code, message } = toPenstockError(error);
    const what = code === 'OBJECT_MISSING' ? 'it is missing' : message;
    damages.report('folder', kind, what);
    return [];
  }
  return listed.filter(({ name }) => {
    if (NAMES[kind].test(name)) return true;
    const folder = kind === 'chunks' ? `${kind}/${name.slice(0, 2)}` : kind;
    damages.report('foreign file', `${folder}/${name}`, 'it is no object of a repository');
    return false;
  });
}

export interface CheckedRecords {
  /** Whole ones, oldest first. */
  readonly archives: readonly RecordedArchive[];
  /** Chunks that their lists name. */
  readonly named: ReadonlySet<string>;
  readonly maps: readonly SessionMap[];
  /** Notes of forgotten archives; unsure when one of them is damaged. */
  readonly forgotten: ReadonlySet<string>;
  readonly forgottenUnsure: boolean;
  /** Sessions that are, or may be, at work. */
  readonly sessions: ReadonlySet<string>;
  readonly notes: readonly string[];
}

/** Reads and checks all records. */
export async function checkRecords(
  repository: Repository,
  damages: DamageList,
): Promise<CheckedRecords> {
  const notes: string[] = [];
  await checkForeign(repository, damages);
  await checkRepositoryRecord(repository, damages);
  if (repository.settings.encrypted) notes.push(...(await checkKeys(repository, damages)));
  for (const [kind, record] of PLAIN_RECORDS) await checkPlain(repository, kind, record, damages);
  await checkArchives(repository, 'pending', damages, new Set());
  const named = new Set<string>();
  const archives = await checkArchives(repository, 'archives', damages, named);
  archives.sort(compareByTime);
  const maps = await checkMaps(repository, damages);
  const forgotten = await tolerant(() => listForgotten(repository));
  return {
    archives,
    named,
    maps,
    forgotten: forgotten?.ids ?? new Set(),
    forgottenUnsure: forgotten === undefined || forgotten.damaged.length > 0,
    sessions: await sessionsAtWork(repository),
    notes,
  };
}

/** Sessions whose lease is alive; where that cannot be told all that have one. */
export async function sessionsAtWork(repository: Repository): Promise<Set<string>> {
  const judged = await tolerant(() =>
    runProtocol(readLeases(leasePolicy()), protocolStore(repository)),
  );
  if (judged !== undefined)
    return new Set(judged.filter(({ state }) => state === 'alive').map(({ id }) => id));
  return new Set((await tolerant(() => repository.store.list('leases')))?.map(({ name }) => name));
}

/** Undefined when it cannot be done: why was reported before. */
async function tolerant<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof PenstockError && !isOutOfReach(error)) return undefined;
    throw error;
  }
}

async function checkForeign(repository: Repository, damages: DamageList): Promise<void> {
  const { foreign, missing } = await repository.store.foreign();
  for (const path of foreign)
    damages.report('foreign file', path, 'it is no object of a repository');
  for (const folder of missing) damages.report('folder', folder, 'it is missing');
}

/** Runs a check of one object; what it throws is its damage. An object that is gone meanwhile is none. */
async function attempt(
  kind: ObjectKind,
  name: string,
  damages: DamageList,
  action: () => Promise<void>,
): Promise<void> {
  try {
    await action();
  } catch (error) {
    const { code, message } = toPenstockError(error);
    if (code === 'OBJECT_MISSING') return;
    // Bytes that pass their checksum but have another shape end in the decoder's own errors.
    const reason = code === 'INTERNAL' ? `it cannot be understood (${message})` : message;
    const damage = damages.report(WORDS[kind], name, reason);
    if (kind === 'archives') damage.concern(name);
  }
}

async function checkRepositoryRecord(repository: Repository, damages: DamageList): Promise<void> {
  try {
    const bytes = await repository.store.read('repository', 'repository', LIMITS.recordBytesMax);
    const { clear } = repository.sealer.decodeRecord<unknown, unknown>(
      bytes,
      RECORD.repository,
      'the repository record',
    );
    if (JSON.stringify(clear) !== JSON.stringify(repository.settings))
      throw new PenstockError('DAMAGED', 'it was changed since it was opened');
  } catch (error) {
    damages.report(WORDS.repository, 'repository', toPenstockError(error).message);
  }
}

/** Passphrases are not needed: the seals around slots show whose they are; what is in them is not opened. */
async function checkKeys(repository: Repository, damages: DamageList): Promise<string[]> {
  await listNamed(repository, 'keys', damages);
  const found = await tolerant(() => listKeys(repository));
  if (found === undefined) return [];
  for (const { subject, message } of found.damaged)
    damages.report(WORDS.keys, (subject ?? '?').replace(/^keys\//, ''), message);
  for (const { slot, error } of found.foreign)
    if (error.code === 'DAMAGED')
      damages.report(WORDS.keys, slotName(slot), 'nobody who could open the repository made it');
  if (found.keys.length === 0)
    damages.report(WORDS.keys, 'all', 'no key is left: without one nobody can open the repository');
  const newest = repository.keyring.newest.number;
  return found.keys
    .map(({ slot }) => slot)
    .filter((slot) => !slot.generations.includes(newest))
    .map(
      (slot) =>
        `key ${slot.slot} does not hold the newest data key: run \`penstock key rotate\` to complete the rotation`,
    );
}

async function checkPlain(
  repository: Repository,
  kind: ObjectKind,
  record: number,
  damages: DamageList,
): Promise<void> {
  const { codec, store } = repository;
  for (const { name } of await listNamed(repository, kind, damages)) {
    await attempt(kind, name, damages, async () => {
      const bytes = await store.read(kind, name, LIMITS.recordBytesMax);
      const head = decodeRecord(
        bytes,
        `${kind}/${name}`,
        (v, o, l, s) => codec.crc32c(v, o, l, s),
        false,
      );
      const id = head.id.toString('hex');
      if (head.kind !== record)
        throw new PenstockError('DAMAGED', `it is a record of kind ${head.kind}, not ${record}`);
      if (id !== name) throw new PenstockError('DAMAGED', `it is the record ${id}`);
      JSON.parse(clearOfRecord(bytes).toString('utf8'));
    });
  }
}

async function checkArchives(
  repository: Repository,
  kind: 'archives' | 'pending',
  damages: DamageList,
  named: Set<string>,
): Promise<RecordedArchive[]> {
  const archives: RecordedArchive[] = [];
  const addAll = (chunks: readonly string[]): void => {
    for (const chunk of chunks) named.add(chunk);
  };
  for (const { name } of await listNamed(repository, kind, damages)) {
    await attempt(kind, name, damages, async () => {
      archives.push(await readArchiveHead(repository, name, addAll, kind));
    });
  }
  return archives;
}

async function checkMaps(repository: Repository, damages: DamageList): Promise<SessionMap[]> {
  const maps: SessionMap[] = [];
  for (const { name } of await listNamed(repository, 'maps', damages)) {
    await attempt('maps', name, damages, async () => {
      if (isSessionMap(name)) maps.push(await readSessionMap(repository, name));
      else await readMapRecord(repository, name);
    });
  }
  return maps;
}
