/**
 * What is said at the end of long work: the summaries of backup, restore, check, forget and prune.
 *
 * Contract: pure functions of plain data. `…Summary` gives what Output.summary takes: an object for
 * programs and text for people, whose first line says the outcome.
 */
import { type ByteString, toDisplay, toJsonPath } from '../base/bytes.ts';
import { formatBytes, formatCount, formatDuration } from '../base/units.ts';
import type { DriveReport } from '../media/drive-messages.ts';
import type { ReadFigures } from '../media/volume-reader.ts';
import type { CopyResult } from '../mover/copy.ts';
import { printable } from './output.ts';
import { type ArchiveFacts, localTime, shortIds } from './render.ts';
import { drivesSummary } from './render-media.ts';
import { textTable } from './text-table.ts';

/** The arguments of Output.summary: `output.summary(...backupSummary(facts))`. */
export type Summary = readonly [record: Readonly<Record<string, unknown>>, text: string];

export interface BackupFacts {
  /** Undefined for a dry run. */
  readonly archiveId: string | undefined;
  readonly name: string;
  readonly filesNew: number;
  readonly filesChanged: number;
  readonly filesUnchanged: number;
  readonly directories: number;
  /** Links, devices, FIFOs. */
  readonly others: number;
  /** Items that could not be read, or changed while they were. */
  readonly failed: number;
  /** Size of all files. */
  readonly bytes: number;
  /** Of these, read. */
  readonly bytesRead: number;
  /** Of these, not in the repository before. */
  readonly bytesNew: number;
  /** What that takes in the repository. */
  readonly bytesStored: number;
  readonly elapsedMs: number;
}

/** What one command has made: one archive, or several at once; and what drives did for it. */
export function backupSummary(
  made: readonly BackupFacts[],
  reports: readonly DriveReport[] = [],
): Summary {
  const archives = made.map(backupRecord);
  const [first] = archives;
  const record =
    archives.length === 1 && first !== undefined
      ? { command: 'backup', ...first }
      : { command: 'backup', archives };
  const lines = made.flatMap(backupLines);
  const drives = drivesSummary(reports);
  return [{ ...record, ...drives.record }, [...lines, ...drives.lines].join('\n')];
}

function backupRecord(facts: BackupFacts): Readonly<Record<string, unknown>> {
  const { archiveId, ...numbers } = facts;
  const files = facts.filesNew + facts.filesChanged + facts.filesUnchanged;
  return {
    ...(archiveId === undefined ? { dryRun: true } : { archive: archiveId }),
    files,
    ...numbers,
  };
}

function backupLines(facts: BackupFacts): string[] {
  const { archiveId, name, failed, elapsedMs } = facts;
  const files = facts.filesNew + facts.filesChanged + facts.filesUnchanged;
  const isDryRun = archiveId === undefined;
  const outcome = isDryRun
    ? `dry run, nothing stored: ${printable(name)}`
    : `archive ${archiveId.slice(0, 8)} of ${printable(name)}`;
  const counts = [
    `${formatCount(facts.filesNew)} new`,
    `${formatCount(facts.filesChanged)} changed`,
    `${formatCount(facts.filesUnchanged)} unchanged`,
  ].join(', ');
  const verb = isDryRun ? 'to be stored' : 'stored';
  const stored = `${formatBytes(facts.bytesNew)} new, ${verb} in ${formatBytes(facts.bytesStored)}`;
  return [
    outcome,
    `  ${plural(files, 'file')} (${counts}), ${otherItems(facts)}`,
    `  ${formatBytes(facts.bytes)}, of which ${formatBytes(facts.bytesRead)} read, ${stored}`,
    `  in ${timeAndRate(elapsedMs, facts.bytesRead)}`,
    ...(failed > 0
      ? [`  ${plural(failed, 'item')} could not be read as they were: see the warnings`]
      : []),
  ];
}

export interface RestoreFacts {
  readonly archiveId: string;
  readonly target: ByteString;
  readonly files: number;
  readonly directories: number;
  readonly others: number;
  /** Items that were there and were left alone. */
  readonly skipped: number;
  readonly failed: number;
  readonly bytes: number;
  readonly isDryRun: boolean;
  readonly elapsedMs: number;
  /** What was read from volumes, if any is. */
  readonly volumes?: ReadFigures | undefined;
}

export function restoreSummary(facts: RestoreFacts): Summary {
  const { archiveId, target, isDryRun, volumes, ...numbers } = facts;
  const outcome = isDryRun ? 'dry run, nothing written: would restore' : 'restored';
  const counts = `${plural(facts.files, 'file')}, ${otherItems(facts)}`;
  const lines = [
    `${outcome} archive ${archiveId.slice(0, 8)} to ${toDisplay(target)}`,
    `  ${counts}; ${formatBytes(facts.bytes)} in ${timeAndRate(facts.elapsedMs, facts.bytes)}`,
    ...(facts.skipped > 0
      ? [`  ${plural(facts.skipped, 'item')} left as they were (--overwrite)`]
      : []),
    ...(facts.failed > 0
      ? [`  ${plural(facts.failed, 'item')} could not be restored: see the warnings`]
      : []),
    ...(volumes === undefined ? [] : [volumesLine(volumes)]),
  ];
  const { path, pathBytes } = toJsonPath(target);
  const place = { target: path, ...(pathBytes === undefined ? {} : { targetBytes: pathBytes }) };
  return [
    {
      command: 'restore',
      ...{ archive: archiveId, ...place, dryRun: isDryRun, ...numbers },
      ...(volumes === undefined ? {} : { volumes }),
    },
    lines.join('\n'),
  ];
}

/** What reading from volumes took. */
function volumesLine({
  bytesRead,
  recordsRead,
  recordsOfOthers,
  recordsSkipped,
  positionings,
}: ReadFigures): string {
  const read = `${formatCount(recordsRead)} records (${formatBytes(bytesRead)}) read from volumes`;
  const others = `${formatCount(recordsOfOthers)} of other streams read`;
  const skipped = `${formatCount(recordsSkipped)} passed over`;
  return `  ${read}, ${others}, ${skipped}, ${formatCount(positionings)} positionings`;
}

export interface CopyFacts extends Omit<CopyResult, 'problems' | 'refusals'> {
  readonly source: ByteString;
  readonly target: ByteString;
  readonly failed: number;
  readonly isDryRun: boolean;
  readonly elapsedMs: number;
}

export function copySummary(facts: CopyFacts): Summary {
  const { source, target, isDryRun, ...numbers } = facts;
  const moved = isDryRun
    ? `${plural(facts.filesWanted, 'file')}, ${formatBytes(facts.bytesWanted)}, to be copied`
    : `${plural(facts.filesDone, 'file')}, ${formatBytes(facts.bytesDone)}, copied`;
  const lines = [
    `${isDryRun ? 'dry run, nothing written: would copy' : 'copied'} ${toDisplay(source)} to ${toDisplay(target)}`,
    `  ${plural(facts.files, 'file')}, ${otherItems(facts)}; ${formatBytes(facts.bytes)}`,
    `  ${moved}; ${formatCount(facts.filesSame)} the same already, ${formatCount(facts.metadataOnly)} with other metadata`,
    ...(facts.bytesResumed > 0
      ? [`  ${formatBytes(facts.bytesResumed)} of large files had arrived before`]
      : []),
    `  in ${timeAndRate(facts.elapsedMs, facts.bytesDone)}`,
    ...(facts.failed > 0
      ? [`  ${plural(facts.failed, 'item')} could not be copied: see the warnings`]
      : []),
  ];
  const record = { source: toJsonPath(source), target: toJsonPath(target) };
  return [{ command: 'copy', ...record, dryRun: isDryRun, ...numbers }, lines.join('\n')];
}

/** One damaged or missing object, and what of the archives it concerns. */
export interface DamageFacts {
  /** `chunk`, `index segment`, `archive`, `key`, `foreign file` … */
  readonly what: string;
  readonly id: string;
  /** What is wrong with it. */
  readonly message: string;
  /** Ids of the archives that it concerns. */
  readonly archives: readonly string[];
  /** Some of the paths whose content it concerns. */
  readonly paths: readonly ByteString[];
  /** How many paths there are in all. */
  readonly pathsTotal: number;
}

export interface CheckFacts {
  readonly archives: number;
  readonly chunks: number;
  readonly indexSegments: number;
  readonly blobs: number;
  /** Stored bytes that were read and verified; 0 without --read-data. */
  readonly bytesRead: number;
  readonly isDataRead: boolean;
  readonly damaged: number;
  /** Chunks that no archive needs yet or any more: information, not damage. */
  readonly orphanChunks: number;
  readonly elapsedMs: number;
}

/** The lines of one finding. */
export function damageLines(damage: DamageFacts): string[] {
  const lines = [`${damage.what} ${damage.id}: ${printable(damage.message)}`];
  if (damage.archives.length > 0) {
    const ids = shortIds(damage.archives);
    lines.push(`  concerns ${plural(ids.length, 'archive')}: ${ids.join(' ')}`);
  }
  for (const path of damage.paths) lines.push(`  ${toDisplay(path)}`);
  const more = damage.pathsTotal - damage.paths.length;
  if (more > 0) lines.push(`  and ${plural(more, 'other path')}`);
  return lines;
}

export function damageRecord(damage: DamageFacts): { type: 'damage'; [key: string]: unknown } {
  return { type: 'damage', ...damage, paths: damage.paths.map(toJsonPath) };
}

export function checkSummary(facts: CheckFacts): Summary {
  const { bytesRead, damaged, orphanChunks } = facts;
  const counts = [
    plural(facts.archives, 'archive'),
    plural(facts.chunks, 'chunk'),
    plural(facts.indexSegments, 'index segment'),
    plural(facts.blobs, 'blob'),
  ].join(', ');
  const read = facts.isDataRead
    ? `all data read: ${formatBytes(bytesRead)} in ${timeAndRate(facts.elapsedMs, bytesRead)}`
    : `data not read (--read-data does), in ${formatDuration(facts.elapsedMs)}`;
  const lines = [
    damaged === 0 ? 'no damage found' : `${plural(damaged, 'damaged object')} found`,
    `  ${counts}`,
    `  ${read}`,
    ...(orphanChunks > 0
      ? [`  ${plural(orphanChunks, 'chunk')} without an archive (\`penstock prune\` removes them)`]
      : []),
  ];
  return [{ command: 'check', ...facts }, lines.join('\n')];
}

/** What `forget` does with an archive, and the rules that keep it. */
export interface VerdictFacts {
  readonly archive: ArchiveFacts;
  readonly isKept: boolean;
  /** Such as `daily`, `last`. */
  readonly reasons: readonly string[];
}

export function verdictTable(verdicts: readonly VerdictFacts[]): string[] {
  const ids = shortIds(verdicts.map(({ archive }) => archive.id));
  const rows = verdicts.map(({ archive, isKept, reasons }, index) => [
    isKept ? 'keep' : 'remove',
    ids[index] ?? archive.id,
    localTime(archive.timeMs / 1000),
    printable(archive.name),
    reasons.join(', '),
  ]);
  return textTable(
    [{ title: '' }, { title: 'id' }, { title: 'time' }, { title: 'name' }, { title: 'kept by' }],
    rows,
  );
}

export function verdictRecord(verdict: VerdictFacts): { type: 'verdict'; [key: string]: unknown } {
  const { archive, isKept, reasons } = verdict;
  return { type: 'verdict', archive: archive.id, name: archive.name, kept: isKept, reasons };
}

export interface PruneFacts {
  readonly chunksDeleted: number;
  readonly chunksRewritten: number;
  readonly chunksCondemned: number;
  readonly bytesFreed: number;
  /** Will be free once the grace has passed. */
  readonly bytesCondemned: number;
  readonly bytesStored: number;
  readonly bytesUnused: number;
  readonly isDryRun: boolean;
  readonly elapsedMs: number;
}

/** Lines for people; also part of what `forget --prune` says. */
export function pruneLines(facts: PruneFacts): string[] {
  const { bytesStored, bytesUnused, isDryRun } = facts;
  const percent = bytesStored > 0 ? ((bytesUnused / bytesStored) * 100).toFixed(1) : '0.0';
  const would = isDryRun ? 'dry run, nothing done: would free' : 'freed';
  const time = formatDuration(facts.elapsedMs);
  const later = formatBytes(facts.bytesCondemned);
  const chunks = [
    `${plural(facts.chunksDeleted, 'chunk')} deleted`,
    `${formatCount(facts.chunksRewritten)} rewritten`,
    `${formatCount(facts.chunksCondemned)} condemned`,
  ].join(', ');
  return [
    `${would} ${formatBytes(facts.bytesFreed)}, ${later} later, in ${time}`,
    `  ${chunks}`,
    `  ${formatBytes(bytesStored)} stored, ${percent} % of it unused`,
  ];
}

export function pruneSummary(facts: PruneFacts): Summary {
  return [{ command: 'prune', ...facts }, pruneLines(facts).join('\n')];
}

/** `1 file`, `78,600 files`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

function otherItems(facts: { readonly directories: number; readonly others: number }): string {
  const directories = plural(facts.directories, 'directory', 'directories');
  return `${directories}, ${plural(facts.others, 'other')}`;
}

function timeAndRate(elapsedMs: number, bytes: number): string {
  const time = formatDuration(elapsedMs);
  if (elapsedMs <= 0 || bytes <= 0) return time;
  return `${time} (${formatBytes(Math.round((bytes / elapsedMs) * 1000))}/s)`;
}
