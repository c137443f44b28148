/**
 * A write log for people and programs: lines of text, and JSON objects (write-log-picture.ts draws it).
 *
 * Contract: pure; names of streams are given by the caller, who knows them.
 */
import { formatBytes } from '../base/units.ts';
import type { LogEntry } from '../format/write-log.ts';

/** What a stream is called; its id where that is not known. */
export type StreamName = (stream: string) => string;

/** What the columns of the lines of entries are. */
export const LOG_ENTRY_TITLE =
  '    OBJECT  WRITTEN                   RECORDS       BYTES    PART  CHUNK     STREAM';

/** One line for an entry, in columns. */
export function logEntryText(entry: LogEntry, nameOf: StreamName): string {
  const time = new Date(entry.writtenMs).toISOString();
  const at = `${String(entry.object).padStart(10)}  ${time}`;
  if (entry.kind === 'synchronised') return `${at}  synchronised`;
  if (entry.kind === 'marks')
    return `${at}  ${entry.count === 1 ? 'file mark' : `${entry.count} file marks`}`;
  const { records, bytes, recordBytes, chunk, part } = entry;
  const fixed = recordBytes === 0 ? '' : `, each of ${recordBytes} bytes`;
  const last = entry.isLast ? ', end of its chunk' : '';
  const figures = `${String(records).padStart(9)}  ${formatBytes(bytes).padStart(10)}`;
  const place = `${String(part).padStart(6)}  ${chunk.slice(0, 8)}`;
  return `${at}${figures}  ${place}  ${nameOf(entry.stream)}${last}${fixed}`;
}

/** The same as an object for a line of JSON. */
export function logEntryJson(entry: LogEntry, nameOf: StreamName): Record<string, unknown> {
  return entry.kind === 'run' ? { ...entry, name: nameOf(entry.stream) } : { ...entry };
}
