/**
 * Write logs that are kept beside their volumes (L6): map records `maps/log-<volume>-<random>`, sealed,
 * each with some pages of one session.
 */
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
}

export interface LogBeside {
  readonly session: number;
  readonly pages: readonly Uint8Array[];
}

/** Keeps a record far below LIMITS.recordBytesMax. */
const PAGES_PER_RECORD = 64;

const prefixOf = (volume: string): string => `log-${volume}-`;

/** Keeps the log of a session. REPO_IO, REPO_FULL. */
export async function putLog(
  repository: Repository,
  volume: string,
  { session, pages }: LogBeside,
): Promise<void> {
  for (let first = 0; first < pages.length; first += PAGES_PER_RECORD) {
    const part = pages.slice(first, first + PAGES_PER_RECORD);
    const stored: StoredLog = {
      volume,
      session,
      first,
      pages: part.map((page) => Buffer.from(page).toString('base64')),
    };
    await putMapRecord(repository, prefixOf(volume), stored);
  }
}

/** The logs that are kept beside a volume; sessions of which pages are missing are left out. */
export async function readLogs(repository: Repository, volume: string): Promise<LogBeside[]> {
  const parts = new Map<number, StoredLog[]>();
  for (const { name } of await repository.store.list('maps')) {
    if (!name.startsWith(prefixOf(volume))) continue;
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
    logs.push({ session, pages });
  }
  return logs;
}

/** Forgets the logs of a volume. */
export async function dropLogs(repository: Repository, volume: string): Promise<void> {
  for (const { name } of await repository.store.list('maps'))
    if (name.startsWith(prefixOf(volume))) await repository.store.remove('maps', name);
}
