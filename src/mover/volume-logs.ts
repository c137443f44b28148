/**
 * Write logs that are kept beside their volumes (L6): map records
 * `maps/log-<volume>-<session>-<random>`, sealed, each with some pages of one session, whose number
 * has 32 hex digits as ids have.
 *
 * The log of a session that is put takes the place of the one before.
 */
import type { SessionEntry } from '../media/volume-index.ts';
import type { Repository } from './repository.ts';
import { putMapRecord, readMapRecord } from './storage-map.ts';

interface StoredLog {
  readonly volume: string;
  /** Number of the session on the volume. */
  readonly session: number;
  /** Number of the first page here. */
  readonly first: number;
  /** Pages in base64. */
  readonly pages: readonly string[];
  /** What the index on the medium says of the session, where it has one; with the first page. */
  readonly entry?: SessionEntry;
}

export interface LogBeside {
  readonly session: number;
  readonly pages: readonly Uint8Array[];
  readonly entry?: SessionEntry | undefined;
}

/** Keeps a record far below LIMITS.recordBytesMax. */
const PAGES_PER_RECORD = 64;

const prefixOf = (volume: string, session?: number): string =>
  session === undefined
    ? `log-${volume}-`
    : `log-${volume}-${session.toString(16).padStart(32, '0')}-`;

/** Keeps the log of a session. REPO_IO, REPO_FULL. */
export async function putLog(
  repository: Repository,
  volume: string,
  { session, pages, entry }: LogBeside,
): Promise<void> {
  const earlier = await namesOf(repository, prefixOf(volume, session));
  for (let first = 0; first < pages.length; first += PAGES_PER_RECORD) {
    const part = pages.slice(first, first + PAGES_PER_RECORD);
    const stored: StoredLog = {
      volume,
      session,
      first,
      pages: part.map((page) => Buffer.from(page).toString('base64')),
      ...(first === 0 && entry !== undefined ? { entry } : {}),
    };
    await putMapRecord(repository, prefixOf(volume, session), stored);
  }
  if (repository.store.appendOnly !== true) await removeAll(repository, earlier);
}

/** The logs that are kept beside a volume; sessions of which pages are missing are left out. */
export async function readLogs(repository: Repository, volume: string): Promise<LogBeside[]> {
  const parts = new Map<number, StoredLog[]>();
  for (const name of await namesOf(repository, prefixOf(volume))) {
    const part = await readMapRecord<StoredLog>(repository, name);
    parts.set(part.session, [...(parts.get(part.session) ?? []), part]);
  }
  const logs: LogBeside[] = [];
  for (const [session, list] of parts) {
    const pages: Buffer[] = [];
    for (const part of list.toSorted((a, b) => a.first - b.first)) {
      if (part.first !== pages.length) break;
      pages.push(...part.pages.map((page) => Buffer.from(page, 'base64')));
    }
    logs.push({ session, pages, entry: list.find(({ entry }) => entry !== undefined)?.entry });
  }
  return logs.sort((a, b) => a.session - b.session);
}

/** Forgets the logs of a volume, or that of one session. */
export async function dropLogs(
  repository: Repository,
  volume: string,
  session?: number,
): Promise<void> {
  await removeAll(repository, await namesOf(repository, prefixOf(volume, session)));
}

async function namesOf(repository: Repository, prefix: string): Promise<string[]> {
  const listed = await repository.store.list('maps');
  return listed.map(({ name }) => name).filter((name) => name.startsWith(prefix));
}

async function removeAll(repository: Repository, names: readonly string[]): Promise<void> {
  for (const name of names) await repository.store.remove('maps', name);
}
