/**
 * How listings look: archives, entries, differences, finds, keys (U6).
 *
 * Contract: pure functions of plain data; each kind of data has a `…Record` for --json and lines
 * for people. Paths are ByteStrings and go out by toDisplay and toJsonPath; times are local for
 * people, UTC for programs.
 */
import { type ByteString, toDisplay, toJsonPath } from '../base/bytes.ts';
import { formatBytes, formatCount } from '../base/units.ts';
import { type JsonRecord, printable } from './output.ts';
import { textTable } from './text-table.ts';
import { pad, textColumns } from './width.ts';

/** An archive as listings need it. */
export interface ArchiveFacts {
  /** Hexadecimal, whole. */
  readonly id: string;
  readonly timeMs: number;
  readonly name: string;
  readonly host: string;
  readonly files: number;
  /** Size of the files that it contains. */
  readonly bytes: number;
  /** What it added to the repository. */
  readonly storedBytes?: number;
  readonly paths: readonly ByteString[];
  /** Of a backup that was interrupted, or is running. */
  readonly isPartial?: boolean;
}

export type EntryKind =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'character-device'
  | 'block-device';

/** An entry of an archive as listings need it. */
export interface EntryFacts {
  readonly path: ByteString;
  readonly kind: EntryKind;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Names at the source, where they are known. */
  readonly owner?: ByteString;
  readonly group?: ByteString;
  readonly bytes: number;
  readonly links: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  readonly linkTarget?: ByteString;
  /** Of device nodes. */
  readonly nodeMajor?: number;
  readonly nodeMinor?: number;
  /** The content could not be read whole when it was backed up. */
  readonly isIncomplete?: boolean;
  /** How a file's content was cut, and why. */
  readonly cut?: string;
  readonly cutBecause?: string;
}

/** What of an entry differs between two archives. */
export type ChangedAspect =
  | 'kind'
  | 'content'
  | 'target'
  | 'device'
  | 'mode'
  | 'owner'
  | 'time'
  | 'attributes';

export interface DifferenceFacts {
  readonly path: ByteString;
  readonly change: 'added' | 'removed' | 'modified';
  /** The kind in the later archive; in the earlier one if it was removed. */
  readonly kind: EntryKind;
  /** Of what was modified. */
  readonly aspects: readonly ChangedAspect[];
  /** Sizes of files, 0 where there is none. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface KeyFacts {
  readonly id: string;
  readonly label: string;
  readonly createdMs: number;
  /** Who made it, such as `me@laptop`. */
  readonly madeBy: string;
  /** The repository was opened with it just now. */
  readonly isCurrent: boolean;
}

const ID_CHARACTERS_MIN = 8;

/** For each id the shortest prefix, of eight characters or more, that no other id has. */
export function shortIds(ids: readonly string[]): string[] {
  const sorted = [...new Set(ids)].sort();
  const length = new Map<string, number>();
  for (const [index, id] of sorted.entries()) {
    const shared = Math.max(
      sharedPrefix(id, sorted[index - 1]),
      sharedPrefix(id, sorted[index + 1]),
    );
    length.set(id, Math.max(ID_CHARACTERS_MIN, shared + 1));
  }
  return ids.map((id) => id.slice(0, length.get(id)));
}

function sharedPrefix(a: string, b: string | undefined): number {
  let length = 0;
  while (b !== undefined && length < a.length && a[length] === b[length]) length++;
  return length;
}

/** The archives in their order, as a table. */
export function archiveTable(archives: readonly ArchiveFacts[]): string[] {
  const ids = shortIds(archives.map(({ id }) => id));
  const columns = [
    { title: 'id' },
    { title: 'time' },
    { title: 'name' },
    { title: 'host' },
    { title: 'files', right: true },
    { title: 'size', right: true },
    { title: 'stored', right: true },
    { title: 'paths' },
  ];
  const rows = archives.map((archive, index) => [
    ids[index] ?? archive.id,
    localTime(archive.timeMs / 1000),
    printable(archive.name) + (archive.isPartial === true ? ' (partial)' : ''),
    printable(archive.host),
    formatCount(archive.files),
    formatBytes(archive.bytes),
    archive.storedBytes === undefined ? '' : formatBytes(archive.storedBytes),
    archive.paths.map(toDisplay).join(' '),
  ]);
  return textTable(columns, rows);
}

export function archiveRecord(archive: ArchiveFacts): JsonRecord {
  return {
    type: 'archive',
    id: archive.id,
    time: utcTime(archive.timeMs / 1000, (archive.timeMs % 1000) * 1e6),
    name: archive.name,
    host: archive.host,
    files: archive.files,
    bytes: archive.bytes,
    ...(archive.storedBytes === undefined ? {} : { storedBytes: archive.storedBytes }),
    paths: archive.paths.map(toJsonPath),
    partial: archive.isPartial === true,
  };
}

const KIND_LETTERS: Readonly<Record<EntryKind, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  'character-device': 'c',
  'block-device': 'b',
};

/** `drwxr-sr-t`. */
export function modeText(kind: EntryKind, mode: number): string {
  let text = KIND_LETTERS[kind];
  for (let shift = 6; shift >= 0; shift -= 3) {
    const bits = mode >> shift;
    text += bits & 4 ? 'r' : '-';
    text += bits & 2 ? 'w' : '-';
    const special = mode & (shift === 6 ? 0o4000 : shift === 3 ? 0o2000 : 0o1000);
    const letter = shift === 0 ? 't' : 's';
    if (special) text += bits & 1 ? letter : letter.toUpperCase();
    else text += bits & 1 ? 'x' : '-';
  }
  return text;
}

/** A path as `ls` shows it: directories end in a slash. */
export function entryLine({ path, kind }: EntryFacts): string {
  return toDisplay(path) + (kind === 'directory' && !path.endsWith('/') ? '/' : '');
}

/** Lines of `ls -l`. One object a listing: columns grow as wider values stream by. */
export class LongListing {
  #ownerColumns = 4;
  #groupColumns = 4;
  #bytesColumns = 9;

  line(entry: EntryFacts): string {
    const owner = entry.owner === undefined ? String(entry.uid) : toDisplay(entry.owner);
    const group = entry.group === undefined ? String(entry.gid) : toDisplay(entry.group);
    const isDevice = entry.nodeMajor !== undefined && entry.kind.endsWith('-device');
    const size = isDevice ? `${entry.nodeMajor}, ${entry.nodeMinor}` : String(entry.bytes);
    this.#ownerColumns = Math.max(this.#ownerColumns, textColumns(owner));
    this.#groupColumns = Math.max(this.#groupColumns, textColumns(group));
    this.#bytesColumns = Math.max(this.#bytesColumns, size.length);
    const target = entry.linkTarget === undefined ? '' : ` -> ${toDisplay(entry.linkTarget)}`;
    return [
      modeText(entry.kind, entry.mode),
      pad(owner, this.#ownerColumns),
      pad(group, this.#groupColumns),
      pad(size, this.#bytesColumns, true),
      localTime(entry.mtimeSeconds),
      entryLine(entry) + target + (entry.isIncomplete === true ? '  (incomplete)' : ''),
    ].join(' ');
  }
}

export function entryRecord(entry: EntryFacts): JsonRecord {
  const { linkTarget } = entry;
  const target = linkTarget === undefined ? undefined : toJsonPath(linkTarget);
  return {
    type: 'entry',
    ...toJsonPath(entry.path),
    kind: entry.kind,
    mode: entry.mode.toString(8).padStart(4, '0'),
    uid: entry.uid,
    gid: entry.gid,
    ...(entry.owner === undefined ? {} : { owner: toDisplay(entry.owner) }),
    ...(entry.group === undefined ? {} : { group: toDisplay(entry.group) }),
    bytes: entry.bytes,
    links: entry.links,
    mtime: utcTime(entry.mtimeSeconds, entry.mtimeNanos),
    ...(target === undefined ? {} : { target: target.path }),
    ...(target?.pathBytes === undefined ? {} : { targetBytes: target.pathBytes }),
    ...(entry.nodeMajor === undefined ? {} : { major: entry.nodeMajor, minor: entry.nodeMinor }),
    ...(entry.isIncomplete === true ? { incomplete: true } : {}),
    ...(entry.cut === undefined ? {} : { cut: entry.cut, cutBecause: entry.cutBecause }),
  };
}

const CHANGE_LETTERS = { added: '+', removed: '-', modified: 'M' } as const;

/** `M /etc/fstab  (content, time; 1.20 KiB -> 1.31 KiB)`. */
export function differenceLine(difference: DifferenceFacts): string {
  const { path, change, kind, aspects, bytesBefore, bytesAfter } = difference;
  const slash = kind === 'directory' && !path.endsWith('/') ? '/' : '';
  const line = `${CHANGE_LETTERS[change]} ${toDisplay(path)}${slash}`;
  if (change !== 'modified') return line;
  const sizes =
    bytesBefore === bytesAfter ? '' : `; ${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}`;
  return `${line}  (${aspects.join(', ')}${sizes})`;
}

export function differenceRecord(difference: DifferenceFacts): JsonRecord {
  const { path, ...rest } = difference;
  return { type: 'difference', ...toJsonPath(path), ...rest };
}

/** What `find` shows of one entry in one archive. `shortId` is the archive's. */
export function findLine(
  shortId: string,
  archive: ArchiveFacts,
  entry: EntryFacts,
  listing?: LongListing,
): string {
  const shown = listing === undefined ? entryLine(entry) : listing.line(entry);
  return `${shortId}  ${localTime(archive.timeMs / 1000)}  ${shown}`;
}

export function findRecord(archive: ArchiveFacts, entry: EntryFacts): JsonRecord {
  return { ...entryRecord(entry), archive: archive.id, archiveName: archive.name };
}

/** The keys, as a table; the one in use is marked. */
export function keyTable(keys: readonly KeyFacts[]): string[] {
  const ids = shortIds(keys.map(({ id }) => id));
  const rows = keys.map((key, index) => [
    `${key.isCurrent ? '*' : ' '} ${ids[index]}`,
    localTime(key.createdMs / 1000),
    printable(key.madeBy),
    printable(key.label),
  ]);
  return textTable(
    [{ title: '  id' }, { title: 'made' }, { title: 'by' }, { title: 'label' }],
    rows,
  );
}

export function keyRecord(key: KeyFacts): JsonRecord {
  const created = utcTime(key.createdMs / 1000, (key.createdMs % 1000) * 1e6);
  const { id, label, madeBy, isCurrent } = key;
  return { type: 'key', id, label, created, madeBy, current: isCurrent };
}

/** Local date and time to the minute; seconds since 1970 where the calendar ends. */
export function localTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return `@${Math.floor(seconds)}`;
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${year(date.getFullYear())}-${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** ISO 8601 in UTC to the nanosecond; seconds since 1970 where the calendar ends. */
export function utcTime(seconds: number, nanos: number): string {
  const date = new Date(Math.floor(seconds) * 1000);
  const fraction = String(Math.round(nanos)).padStart(9, '0');
  if (Number.isNaN(date.getTime())) return `@${Math.floor(seconds)}.${fraction}`;
  return `${date.toISOString().slice(0, -5)}.${fraction}Z`;
}

function year(value: number): string {
  return value < 0 ? `-${String(-value).padStart(4, '0')}` : String(value).padStart(4, '0');
}
