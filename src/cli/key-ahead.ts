/**
 * Begins to derive the key of the repository before the command line is understood: that takes a tenth of a second in
 * a thread of Node's own, in which this one has as much to load.
 *
 * Contract: a guess. What it gets wrong costs processor time and nothing else: nothing is said, written, asked for or
 * believed here, and whoever opens the repository goes by the command line, and checks everything. Only a
 * directory of this machine is looked at, and only where the passphrase is in the environment or in an ordinary file
 * (what comes out of a pipe can be read once).
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { LIMITS } from '../base/limits.ts';
import { canStretch, stretchAhead } from '../crypto/stretch.ts';
import { type KeyRecord, slotsOf } from '../mover/key-slots.ts';
import { withoutLineEnd } from './line-end.ts';
import { defaultRepoUrl } from './state.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Commands that need the key of a repository, by their first words. */
export const KEY_COMMANDS: readonly string[] = [
  ...['backup', 'restore', 'archives', 'ls', 'cat', 'diff', 'find', 'check', 'forget', 'prune'],
  ...['key', 'catalog', 'pool', 'volume', 'migrate', 'upgrade'],
];

/** What stands for bytes that are no UTF-8: names and passphrases with such are left to who reads the originals. */
const LOST = '\ufffd';
/** Keys and passphrases are far smaller. */
const FILE_BYTES_MAX = 64 << 10;

/**
 * Whether something was begun.
 *
 * @param args as they were typed, without the program's name
 */
export function deriveAhead(args: readonly string[], environment: Environment): boolean {
  try {
    const folder = guessFolder(args, environment);
    if (folder === undefined) return false;
    const [first] = slotsOf(readKeys(join(folder, 'keys'))).slots;
    const passphrase = first && readPassphrase(environment);
    if (first === undefined || passphrase === undefined || !canStretch(first.slot)) return false;
    stretchAhead(passphrase, first.slot);
    passphrase.fill(0);
    return true;
  } catch {
    // Who opens the repository finds it too, and says it.
    return false;
  }
}

/** The directory of the repository that is most likely meant. */
function guessFolder(args: readonly string[], environment: Environment): string | undefined {
  const words = args.filter((word) => !word.startsWith('-'));
  if (!words.some((word) => KEY_COMMANDS.includes(word))) return undefined;
  if (args.includes('--help') || args.includes('-h')) return undefined;
  const at = args.findLastIndex((word) => word === '--repo' || word.startsWith('--repo='));
  const typed = args[at]?.startsWith('--repo=') ? args[at].slice('--repo='.length) : args[at + 1];
  const given = at < 0 ? environment.PENSTOCK_REPO : typed;
  const folder = given || defaultRepoUrl((name) => environment[name]);
  return folder.includes('://') || folder.includes(LOST) ? undefined : folder;
}

function readKeys(folder: string): KeyRecord[] {
  const names = readdirSync(folder).slice(0, LIMITS.keySlotsMax);
  return names.map((name) => ({ name, record: readOrdinary(join(folder, name)) }));
}

function readPassphrase(environment: Environment): Buffer | undefined {
  const { PENSTOCK_PASSPHRASE: given, PENSTOCK_PASSPHRASE_FILE: file } = environment;
  if (given) return given.includes(LOST) ? undefined : Buffer.from(given);
  return file ? withoutLineEnd(readOrdinary(file)) : undefined;
}

/** Throws where it is no ordinary file, or a large one. */
function readOrdinary(path: string): Buffer {
  // Before it is opened: that alone wakes the writer of a FIFO.
  if (!statSync(path).isFile()) throw new Error('not an ordinary file');
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const status = fstatSync(fd);
    if (!status.isFile() || status.size > FILE_BYTES_MAX) throw new Error('not an ordinary file');
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
