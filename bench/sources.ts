/**
 * What is backed up: the reference tree or a copy of the user's directory, large files, many files.
 *
 * Contract: whatever takes seconds lets the event loop turn, so that Ctrl-C is heard.
 */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { runCommand } from './commands.ts';

const REFERENCE = '/usr/src/linux-source-6.1.tar.xz';
const OWN_PACKAGES: string = join(import.meta.dirname, '..', 'node_modules');

/** The directory that is measured by default: Debian's kernel sources, or this tree's packages. */
export const defaultSource = (): string => (existsSync(REFERENCE) ? REFERENCE : OWN_PACKAGES);

export const isArchive = (path: string): boolean => /\.tar(\.\w+)?$/.test(path);

/** Puts the source below `folder`: an archive unpacked, a directory copied. Returns its path. */
export async function placeSource(source: string, folder: string): Promise<string> {
  const from = resolve(source);
  if (isArchive(from)) {
    await runCommand({ program: 'tar', args: ['-xf', from, '-C', folder] });
    return join(folder, readdirSync(folder)[0] ?? '');
  }
  const to = join(folder, basename(from) || 'root');
  await runCommand({ program: 'cp', args: ['-a', '--', from, to] });
  return to;
}

const SLICE_BYTES = 4096;
const PIECE_BYTES = 16 * 1024 * 1024;

/**
 * One file of `bytes` of text: the text files of a tree again and again. A line with a running number
 * every 4 KiB keeps any two stretches as long as a blob apart, so that there are no duplicates.
 */
export async function makeText(tree: string, path: string, bytes: number): Promise<void> {
  const files = [...textFiles(tree)];
  if (files.length === 0) throw new Error(`there is no text in ${tree} to make a large file of`);
  const piece = Buffer.alloc(PIECE_BYTES);
  const fd = openSync(path, 'wx');
  let filled = 0;
  let left = bytes;
  const add = (part: Buffer): void => {
    if (filled + part.length > piece.length) {
      writeSync(fd, piece, 0, filled);
      filled = 0;
    }
    filled += part.copy(piece, filled);
    left -= part.length;
  };
  for (let number = 0; left > 0; ) {
    for (const file of files) {
      if (left > 0) await turn();
      const text = readFileSync(file);
      for (let at = 0; at < text.length && left > 0; at += SLICE_BYTES) {
        add(Buffer.from(`// ${number++}\n`).subarray(0, left));
        add(text.subarray(at, Math.min(at + SLICE_BYTES, at + left)));
      }
    }
  }
  writeSync(fd, piece, 0, filled);
  closeSync(fd);
}

function* textFiles(folder: string): Generator<string> {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    const status = lstatSync(path);
    if (status.isDirectory()) yield* textFiles(path);
    else if (status.isFile() && status.size > 256 && isText(path)) yield path;
  }
}

function isText(path: string): boolean {
  const sample = readFileSync(path).subarray(0, SLICE_BYTES);
  return !sample.some((byte) => byte > 0x7e || (byte < 0x20 && byte !== 9 && byte !== 10));
}

/** One file of random bytes, which neither compress nor repeat. */
export async function makeNoise(path: string, bytes: number): Promise<void> {
  const piece = Buffer.alloc(PIECE_BYTES);
  const fd = openSync(path, 'wx');
  for (let at = 0; at < bytes; at += piece.length) {
    await turn();
    randomFillSync(piece);
    writeSync(fd, piece, 0, Math.min(piece.length, bytes - at));
  }
  closeSync(fd);
}

const FILES_PER_FOLDER = 1000;

/** A tree of many small files, all different. */
export async function makeMany(folder: string, files: number): Promise<void> {
  for (let number = 0; number < files; number++) {
    const inside = join(folder, String(Math.floor(number / FILES_PER_FOLDER)));
    if (number % FILES_PER_FOLDER === 0) {
      mkdirSync(inside, { recursive: true });
      await turn();
    }
    writeFileSync(join(inside, `file-${number}.txt`), `file ${number}\n`.repeat(8 + (number % 16)));
  }
}
