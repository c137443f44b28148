/**
 * Forgets archives: by keep rules (retention.ts), or those that are named. What only they needed stays
 * until a prune.
 *
 * Contract: time is the store's, so that a client whose clock was set wrong forgets nothing early. An
 * archive that is protected is never removed, however it is asked for. What is forgotten is noted
 * before its record goes: a crash between leaves an archive that can be forgotten again, never one
 * that `catalog rebuild` brings back. A record that cannot be read is judged by no rule; it can be
 * named, and so can an archive of which only the map knows because its record was lost.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ArchiveHead, decodeArchive } from './archives.ts';
import { listForgotten, noteForgotten } from './forgotten.ts';
import { timeForReading } from './protocol-adapter.ts';
import { readAhead } from './read-ahead.ts';
import type { Repository } from './repository.ts';
import { applyKeepRules, type KeepReason, type KeepRules } from './retention.ts';
import { isSessionMap, readSessionMap } from './storage-map.ts';

export interface ForgetRequest {
  /** Ids, unique beginnings of ids, or `latest`: what to forget. Empty: the rules say. */
  readonly ids: readonly string[];
  readonly rules: KeepRules;
  /** Only archives of this name. */
  readonly name?: string | undefined;
  /** IANA name of the zone in which days begin. */
  readonly timeZone: string;
  readonly dryRun: boolean;
}

/** What is known of an archive that is judged; of one whose record is damaged only the id. */
export type ForgetArchive = Pick<
  ArchiveHead,
  'id' | 'name' | 'host' | 'paths' | 'startedMs' | 'partial' | 'protectedUntilMs' | 'statistics'
>;

export interface ForgetVerdict {
  readonly id: string;
  /** Undefined: its record is damaged. */
  readonly archive: ForgetArchive | undefined;
  readonly isKept: boolean;
  readonly reasons: readonly KeepReason[];
}

export interface ForgetResult {
  /** By name, then newest first; of named archives in the order in which they were named. */
  readonly verdicts: readonly ForgetVerdict[];
  /** Ids of archives that were named and stay because they are protected. */
  readonly refused: readonly string[];
  /** Records that no rule could judge. */
  readonly damaged: readonly PenstockError[];
}

/**
 * Forgets archives.
 *
 * @throws USAGE, ARCHIVE_UNKNOWN, REPO_READ_ONLY, REPO_FULL, REPO_IO
 */
export async function forget(
  repository: Repository,
  request: ForgetRequest,
): Promise<ForgetResult> {
  const { ids, rules, name, timeZone, dryRun } = request;
  const hasRules = Object.values(rules).some((rule) => rule !== undefined);
  if (ids.length > 0 && hasRules) {
    throw new PenstockError('USAGE', 'archives are named and rules are given', {
      hint: 'name the archives to forget, or give rules for what to keep',
    });
  }
  const records = await readRecords(repository, name);
  const nowMs = await (dryRun ? timeForReading(repository) : repository.store.nowMs());
  const result =
    ids.length > 0
      ? await judgeNamed(repository, records, ids, name, nowMs)
      : judgeByRules(records, rules, nowMs, timeZone);
  if (!dryRun) {
    await remove(
      repository,
      result.verdicts.filter((one) => !one.isKept).map((one) => one.id),
    );
  }
  return result;
}

async function remove(repository: Repository, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  if (repository.store.appendOnly === true)
    throw new PenstockError('REPO_READ_ONLY', 'this machine may add archives, not remove them', {
      hint: 'forget them on the server, or from a machine with full access',
    });
  await noteForgotten(repository, ids);
  for (const id of ids) await repository.store.remove('archives', id);
}

interface Records {
  readonly archives: readonly ForgetArchive[];
  readonly damaged: ReadonlyMap<string, PenstockError>;
}

/** Reads all records and keeps of each what is needed here: chunk lists are long. */
async function readRecords(repository: Repository, name: string | undefined): Promise<Records> {
  const archives: ForgetArchive[] = [];
  const damaged = new Map<string, PenstockError>();
  const { store } = repository;
  const ids = (await store.list('archives')).map((one) => one.name);
  for (const { name: id, take } of readAhead(store, 'archives', ids, LIMITS.recordBytesMax)) {
    try {
      const archive = decodeArchive(repository, await take(), id);
      if (name === undefined || archive.name === name) archives.push(pick(archive));
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      // Forgotten by somebody else meanwhile.
      if (error.code !== 'OBJECT_MISSING') damaged.set(id, error);
    }
  }
  return { archives, damaged };
}

function pick(archive: ArchiveHead): ForgetArchive {
  const { id, name, host, paths, startedMs, partial, protectedUntilMs, statistics } = archive;
  return { id, name, host, paths, startedMs, partial, protectedUntilMs, statistics };
}

function judgeByRules(
  { archives, damaged }: Records,
  rules: KeepRules,
  nowMs: number,
  timeZone: string,
): ForgetResult {
  const retained = archives.map(({ id, name, startedMs, partial, protectedUntilMs }) => {
    return { id, name, timeMs: startedMs, partial, protectedUntilMs };
  });
  const { keep } = applyKeepRules(retained, rules, nowMs, timeZone);
  const reasons = new Map(keep.map((one) => [one.id, one.reasons]));
  const verdicts = [...archives].sort(byNameThenNewest).map((archive): ForgetVerdict => {
    const why = reasons.get(archive.id);
    return { id: archive.id, archive, isKept: why !== undefined, reasons: why ?? [] };
  });
  return { verdicts, refused: [], damaged: [...damaged.values()] };
}

function byNameThenNewest(a: ForgetArchive, b: ForgetArchive): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return b.startedMs - a.startedMs || (a.id < b.id ? 1 : -1);
}

async function judgeNamed(
  repository: Repository,
  { archives, damaged }: Records,
  texts: readonly string[],
  name: string | undefined,
  nowMs: number,
): Promise<ForgetResult> {
  const known = new Map<string, ForgetArchive | undefined>();
  for (const archive of await lostArchives(repository)) {
    if (name === undefined || archive.name === name) known.set(archive.id, archive);
  }
  for (const id of damaged.keys()) known.set(id, undefined);
  for (const archive of archives) known.set(archive.id, archive);
  const chosen = new Set(texts.map((text) => resolve([...known.keys()], archives, text)));
  const verdicts = [...chosen].map((id): ForgetVerdict => {
    const archive = known.get(id);
    const isKept = (archive?.protectedUntilMs ?? -Infinity) > nowMs;
    return { id, archive, isKept, reasons: isKept ? ['protected'] : [] };
  });
  const refused = verdicts.filter((one) => one.isKept).map((one) => one.id);
  return { verdicts, refused, damaged: [] };
}

/** Archives that the map knows and that have no record, although nobody has forgotten them. */
async function lostArchives(repository: Repository): Promise<ForgetArchive[]> {
  const mapped: ForgetArchive[] = [];
  for (const { name } of await repository.store.list('maps')) {
    if (!isSessionMap(name)) continue;
    try {
      const { archive } = await readSessionMap(repository, name);
      if (archive !== undefined && !archive.partial) mapped.push(pick(archive));
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      if (error.code !== 'DAMAGED' && error.code !== 'OBJECT_MISSING') throw error;
    }
  }
  const recorded = new Set((await repository.store.list('archives')).map((one) => one.name));
  const forgotten = await listForgotten(repository);
  return mapped.filter(({ id }) => !recorded.has(id) && !forgotten.ids.has(id));
}

function resolve(ids: readonly string[], archives: readonly ForgetArchive[], text: string): string {
  if (text === 'latest') {
    const whole = archives.filter(({ partial }) => !partial);
    const latest = whole.reduce<ForgetArchive | undefined>(
      (best, one) => (best === undefined || one.startedMs >= best.startedMs ? one : best),
      undefined,
    );
    if (latest !== undefined) return latest.id;
    throw new PenstockError('ARCHIVE_UNKNOWN', 'there is no archive to forget');
  }
  const prefix = text.toLowerCase();
  const found = prefix === '' ? [] : ids.filter((id) => id.startsWith(prefix));
  const only = found[0];
  if (only !== undefined && found.length === 1) return only;
  const what = found.length === 0 ? 'no archive has' : `${found.length} archives have`;
  throw new PenstockError(
    'ARCHIVE_UNKNOWN',
    `${what} an id that begins with ${JSON.stringify(text)}`,
  );
}
