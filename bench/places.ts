/**
 * Temporary folders of a bench, and whether there is room for what it does in them.
 *
 * Contract: what is made here is gone at the end of the process, however it ends (kill -9 excepted).
 */
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const TMPFS = '/dev/shm';
const TMPFS_MAGIC = 0x01021994;

const made = new Set<string>();

/** A new folder inside `parent`, gone when the process ends; throws where there is no `parent`. */
export function makeFolder(parent: string): string {
  if (!existsSync(parent)) throw new Error(`there is no folder ${parent}: make it first`);
  const folder = mkdtempSync(join(parent, 'penstock-bench-'));
  made.add(folder);
  return folder;
}

export function removeFolders(): void {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
  made.clear();
}

/** The folder in memory; throws where there is none. */
export function tmpfsFolder(): string {
  if (!existsSync(TMPFS) || statfsSync(TMPFS).type !== TMPFS_MAGIC) {
    throw new Error(`${TMPFS} is no tmpfs: the bench needs one, so that no disk is measured`);
  }
  return TMPFS;
}

export const isOnTmpfs = (path: string): boolean => statfsSync(path).type === TMPFS_MAGIC;

/** Bytes of files, counted in whole pages as tmpfs keeps them, and entries of a tree. */
export interface TreeSize {
  readonly bytes: number;
  readonly storedBytes: number;
  readonly files: number;
  readonly entries: number;
}

export function sizeOfTree(path: string): TreeSize {
  const status = lstatSync(path);
  const storedBytes = Math.max(4096, Math.ceil(status.size / 4096) * 4096);
  if (!status.isDirectory()) {
    const file = status.isFile();
    return { bytes: file ? status.size : 0, storedBytes, files: file ? 1 : 0, entries: 1 };
  }
  const sum = { bytes: 0, storedBytes: 4096, files: 0, entries: 1 };
  for (const name of readdirSync(path)) {
    const one = sizeOfTree(join(path, name));
    sum.bytes += one.bytes;
    sum.storedBytes += one.storedBytes;
    sum.files += one.files;
    sum.entries += one.entries;
  }
  return sum;
}

const TOUCH_BYTES = 8 << 20;

/**
 * Fills so many bytes of a tmpfs, and gives them back: what is written there next finds memory that a host has given to
 * the machine already. Else whoever comes first pays for all.
 */
export function touchMemory(folder: string, bytes: number): void {
  const path = join(folder, 'touched');
  const fd = openSync(path, 'w');
  try {
    const piece = Buffer.alloc(TOUCH_BYTES);
    for (let at = 0; at < bytes; at += piece.length) writeSync(fd, piece);
  } finally {
    closeSync(fd);
    rmSync(path);
  }
}

/** Throws where `folder` has not room for so much more. */
export function assertRoom(folder: string, bytes: number, entries: number, what: string): void {
  const { bavail, bsize, ffree } = statfsSync(folder);
  const gigabytes = (value: number): string => `${(value / 1e9).toFixed(1)} GB`;
  const free = isOnTmpfs(folder)
    ? Math.min(bavail * bsize, availableMemoryBytes())
    : bavail * bsize;
  if (free < bytes) {
    const hint = 'give a smaller directory, or a smaller --large-size';
    throw new Error(
      `${what} needs ${gigabytes(bytes)} in ${folder}, which has ${gigabytes(free)} left: ${hint}`,
    );
  }
  // Some file systems make entries as they need them and say 0.
  if (ffree > 0 && ffree < entries) {
    throw new Error(`${what} needs ${entries} files in ${folder}, which takes ${ffree} more`);
  }
}

/** What tmpfs can still take, which is memory. */
function availableMemoryBytes(): number {
  const line = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'latin1'));
  return Number(line?.[1] ?? 0) * 1024;
}

/** An empty folder at this path. */
export function renewFolder(path: string): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  return path;
}
