/**
 * What a catalog knows of archives: a summary for each archive record, by the record's name.
 *
 * Archive records never change, so a summary is good as long as the store lists a record of the same
 * name, length and time. Whoever asks brings that list; nothing else is handed out.
 */
import { crc32 } from 'node:zlib';
import type { ByteString } from '../base/bytes.ts';
import type { Database } from './schema.ts';

/** What listings show of an archive, and finding `latest` needs. */
export interface ArchiveSummary {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly user: string;
  readonly paths: readonly ByteString[];
  readonly startedMs: number;
  readonly endedMs: number;
  readonly partial: boolean;
  readonly statistics: {
    readonly files: number;
    readonly entries: number;
    readonly bytes: number;
    readonly bytesStored: number;
    readonly problems: number;
  };
}

/** An archive record as the store lists it. */
export interface ListedRecord {
  readonly name: string;
  readonly bytes: number;
  readonly modifiedMs: number;
}

export interface CatalogedArchive {
  readonly record: ListedRecord;
  readonly summary: ArchiveSummary;
}

/** The summaries of those records that the catalog knows, by name. Rows that are damaged are left out. */
export function readSummaries(
  database: Database,
  listed: readonly ListedRecord[],
): Map<string, ArchiveSummary> {
  const byName = new Map(listed.map((record) => [record.name, record]));
  const known = new Map<string, ArchiveSummary>();
  const query = database.prepare('SELECT name, bytes, modified_ms, summary, crc FROM archives');
  for (const row of query.iterate()) {
    const name = String(row.name);
    const text = String(row.summary);
    const record = byName.get(name);
    const fits =
      record !== undefined &&
      row.bytes === record.bytes &&
      row.modified_ms === record.modifiedMs &&
      row.crc === checksum(record, text);
    if (fits) known.set(name, JSON.parse(text) as ArchiveSummary);
  }
  return known;
}

/** Adds what is new and drops what the store does not list any more, in one transaction. */
export function writeSummaries(
  database: Database,
  listed: readonly ListedRecord[],
  added: readonly CatalogedArchive[],
): void {
  const names = new Set(listed.map(({ name }) => name));
  const rows = database.prepare('SELECT name FROM archives').all();
  const gone = rows.map((row) => String(row.name)).filter((name) => !names.has(name));
  if (gone.length === 0 && added.length === 0) return;
  database.exec('BEGIN IMMEDIATE');
  try {
    const remove = database.prepare('DELETE FROM archives WHERE name = ?');
    for (const name of gone) remove.run(name);
    const put = database.prepare('INSERT OR REPLACE INTO archives VALUES (?, ?, ?, ?, ?)');
    for (const { record, summary } of added) {
      const text = JSON.stringify(summary);
      put.run(record.name, record.bytes, record.modifiedMs, text, checksum(record, text));
    }
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function checksum({ name, bytes, modifiedMs }: ListedRecord, summary: string): number {
  return crc32(`${name} ${bytes} ${modifiedMs} ${summary}`);
}
