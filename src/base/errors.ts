/**
 * The one class of operating errors, and the table of their codes.
 *
 * Contract: whatever can go wrong outside the program (files, media, keys, users' input) is a
 * PenstockError whose code stands in ERRORS. A programmer's mistake is an assertion (assert.ts) and
 * ends the run. The table alone decides exit status, whether a retry can help, and the hint;
 * docs/errors.md is kept equal to it by a test.
 */
import { DEVICE_ERRORS } from './device-errors.ts';
import { type ErrorSpec, spec } from './error-spec.ts';
import { MEDIA_ERRORS } from './media-errors.ts';

/** Exit statuses of the command line (U4). */
export const EXIT = { ok: 0, failed: 1, usage: 2, partial: 3, interrupted: 130 } as const;

export type { ErrorSpec };

export const ERRORS = {
  USAGE: spec(2, false, 'the command line is wrong', 'run `penstock help` for the syntax'),
  NOT_SUPPORTED: spec(
    1,
    false,
    'this platform or build lacks what was asked for',
    'see docs/limits.md',
  ),
  INTERRUPTED: spec(
    130,
    true,
    'the user or the system asked for an end',
    'run the command again: it continues',
  ),
  INTERNAL: spec(
    1,
    false,
    'a defect of Penstock',
    'please report it with the message and the command',
  ),

  REPO_MISSING: spec(
    1,
    false,
    'there is no repository at that place',
    'check --repo, or run `penstock init`',
  ),
  REPO_EXISTS: spec(
    1,
    false,
    'there is a repository at that place already',
    'choose another place',
  ),
  REPO_FEATURE: spec(
    1,
    false,
    'the repository needs a feature that this version does not have',
    'use a newer Penstock',
  ),
  REPO_READ_ONLY: spec(
    1,
    false,
    'the repository cannot be written',
    'check permissions and mounts',
  ),
  REPO_FULL: spec(
    1,
    true,
    'the storage has no room left',
    'free space (`penstock prune`), then run the command again: it continues',
  ),
  REPO_IO: spec(
    1,
    true,
    'the storage answered with an error',
    'look at the system log for the device',
  ),

  ...MEDIA_ERRORS,
  PASSPHRASE_MISSING: spec(
    1,
    false,
    'a passphrase is needed and none was given',
    'set PENSTOCK_PASSPHRASE or PENSTOCK_PASSPHRASE_FILE',
  ),
  PASSPHRASE_WRONG: spec(
    1,
    false,
    'no key of the repository opens with this passphrase',
    'check the passphrase; `penstock key list` shows the keys',
  ),
  KEY_UNKNOWN: spec(
    1,
    false,
    'there is no such key, or data names a key generation that is not there',
    'run `penstock key list`',
  ),
  KEY_LAST: spec(1, false, 'the last key cannot be removed', 'add another key first'),

  DAMAGED: spec(
    1,
    false,
    'stored bytes do not match their checksum, seal or name; a warning, with status 3, where the rest was done',
    'run `penstock check --read-data` to see all damage',
  ),
  OBJECT_MISSING: spec(
    1,
    false,
    'an object that others refer to is not there; a warning, with status 3, where the rest was done',
    'run `penstock check`, then `penstock catalog rebuild`',
  ),
  OBJECT_EXISTS: spec(
    1,
    false,
    'an object of that name is stored already, and nothing is ever replaced',
    'run the command again',
  ),
  FORMAT: spec(
    1,
    false,
    'bytes are not of the form that was expected',
    'is the file foreign, or was it made by a newer version?',
  ),

  ARCHIVE_UNKNOWN: spec(
    1,
    false,
    'no archive, or more than one, matches',
    'run `penstock archives`',
  ),
  PATH_UNKNOWN: spec(1, false, 'the archive has no such path', 'run `penstock ls ARCHIVE`'),
  TARGET_ESCAPE: spec(
    1,
    false,
    'an entry would be written outside the target',
    'the archive or the target was tampered with; use an empty target',
  ),
  TARGET_EXISTS: spec(
    1,
    false,
    'the target has an entry of another kind or it must not be overwritten',
    'use --overwrite, or another target',
  ),

  SOURCE_MISSING: spec(1, false, 'the path that is to be read does not exist', 'check the path'),
  SOURCE_UNREADABLE: spec(
    3,
    true,
    'an item could not be read; the rest was backed up',
    'check permissions, or exclude the item',
  ),
  SOURCE_CHANGED: spec(
    3,
    true,
    'an item changed or vanished while it was read',
    'run the backup again, or use a snapshot of the file system',
  ),
  RESTORE_PARTIAL: spec(
    3,
    false,
    'some items could not be restored; the rest was',
    'see the warnings above',
  ),

  COPY_PARTIAL: spec(
    3,
    true,
    'an item could not be copied, or not wholly',
    'see the message, then run the command again: what is there already is passed over',
  ),
  SESSION_LOST: spec(
    1,
    true,
    'the lease of this session ran out before it could commit',
    'run the command again: it continues',
  ),
  PIPE_FAILED: spec(1, false, 'a module instance of the pipe ended abnormally', 'see the cause'),
  PIPE_STOPPED: spec(1, true, 'the pipe was stopped', 'run the command again'),
  PIPE_CONFIG: spec(
    2,
    false,
    'the pipe cannot be built as described',
    'see docs/architecture.md, "The pipe"',
  ),
  COMMAND_FAILED: spec(
    1,
    false,
    'an external command that is a module of the pipe could not be started, or failed',
    'see what the command says in the message',
  ),
  PROGRAM_MISSING: spec(
    1,
    true,
    'no program was attached to an unbound module of the pipe in time',
    'run `penstock attach` sooner, or allow more time',
  ),
  PROGRAM_LOST: spec(
    1,
    true,
    'a program that was attached to the pipe ended before the end of its data, or failed',
    'see why the program ended',
  ),
  ATTACH_REFUSED: spec(
    1,
    false,
    'a program cannot be attached to the pipe in that way',
    '`penstock pipes` shows what a pipe consists of',
  ),
  PIPE_UNKNOWN: spec(1, false, 'there is no pipe of that name', 'run `penstock pipes`'),
  MONITOR_MISSING: spec(
    1,
    true,
    'no monitor runs with this state folder',
    'start one with `penstock serve`, or name its folder with --state',
  ),
  LIMIT: spec(1, false, 'a named limit was exceeded', 'see docs/limits.md'),

  NET_UNREACHABLE: spec(
    1,
    true,
    'no connection to the other machine came about',
    'check the address, that `penstock serve` runs there, and what filters the network',
  ),
  NET_LOST: spec(
    1,
    true,
    'a connection to the other machine broke, and was not re-made within the limit',
    'look at the network between the machines, then run the command again: it continues',
  ),
  NET_UNTRUSTED: spec(
    1,
    false,
    'the other machine is not the one that this one was paired with',
    'pair the machines: `penstock pair token` there, `penstock pair HOST --token T` here',
  ),
  NET_REFUSED: spec(
    1,
    false,
    'the other machine does not know this one',
    'pair the machines: `penstock pair token` there, `penstock pair HOST --token T` here',
  ),
  NET_DENIED: spec(
    1,
    false,
    'the other machine does not let this one do that',
    'ask its administrator; `penstock pair list` there shows what was granted',
  ),
  NET_BUSY: spec(
    1,
    true,
    'the other machine has too much to do, or is being stopped',
    'wait a little, then run the command again',
  ),
  NET_PROTOCOL: spec(
    1,
    false,
    'the other machine answered with something that cannot be understood',
    'use the same version of Penstock on both machines',
  ),
  PAIRING_REFUSED: spec(
    1,
    false,
    'a pairing token is wrong, was used, or is too old',
    'make a new one with `penstock pair token` on the server',
  ),
  PEER_UNKNOWN: spec(
    1,
    false,
    'no paired machine, or more than one, matches',
    'run `penstock pair list`',
  ),

  ...DEVICE_ERRORS,

  HOST_IO: spec(
    1,
    true,
    'the operating system refused a call',
    'see the message for the call and the path',
  ),
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetails {
  readonly cause?: unknown;
  /** Overrides the table's hint. */
  readonly hint?: string;
  /** The system's error name, such as ENOENT, where one stands behind it. */
  readonly errno?: string;
  /** What it happened to: a path, an object id. */
  readonly subject?: string;
}

/** An operating error. `message` is lower case, without a full stop, and names what it happened to. */
export class PenstockError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly hint: string;
  readonly exit: number;
  readonly errno: string | undefined;
  readonly subject: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'PenstockError';
    this.code = code;
    const entry: ErrorSpec = ERRORS[code];
    this.retryable = entry.retryable;
    this.hint = details.hint ?? entry.hint;
    this.exit = entry.exit;
    this.errno = details.errno;
    this.subject = details.subject;
  }
}

/** The plain form in which an error crosses a thread or a JSON line. */
export interface ErrorRecord {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly errno?: string;
  readonly subject?: string;
  readonly stack?: string;
}

/** Turns anything thrown into a record; foreign errors become INTERNAL or REPO_FULL/HOST_IO by errno. */
export function toErrorRecord(thrown: unknown): ErrorRecord {
  const error = toPenstockError(thrown);
  return {
    code: error.code,
    message: error.message,
    hint: error.hint,
    ...(error.errno === undefined ? {} : { errno: error.errno }),
    ...(error.subject === undefined ? {} : { subject: error.subject }),
    ...(error.code === 'INTERNAL' && error.stack !== undefined ? { stack: error.stack } : {}),
  };
}

export function fromErrorRecord(record: ErrorRecord): PenstockError {
  const error = new PenstockError(record.code, record.message, {
    hint: record.hint,
    ...(record.errno === undefined ? {} : { errno: record.errno }),
    ...(record.subject === undefined ? {} : { subject: record.subject }),
  });
  if (record.stack !== undefined) error.stack = record.stack;
  return error;
}

/**
 * Whether the error says that another machine is out of reach: nothing can be concluded about what is
 * stored there, and whoever goes on after errors of single items must not go on after this one.
 */
export function isOutOfReach(thrown: unknown): boolean {
  return thrown instanceof PenstockError && OUT_OF_REACH.has(thrown.code);
}
const OUT_OF_REACH: ReadonlySet<ErrorCode> = new Set([
  'NET_UNREACHABLE',
  'NET_LOST',
  'NET_UNTRUSTED',
  'NET_REFUSED',
  'NET_DENIED',
  'NET_BUSY',
  'NET_PROTOCOL',
  'DEVICE_UNREACHABLE',
  'DEVICE_REFUSED',
  'DEVICE_BUSY',
  'DEVICE_LOST',
  'DEVICE_TIMEOUT',
  'DEVICE_PROTOCOL',
]);

/** Wraps a foreign error; a PenstockError passes through unchanged. */
export function toPenstockError(thrown: unknown): PenstockError {
  if (thrown instanceof PenstockError) return thrown;
  const errno = (thrown as NodeJS.ErrnoException | null)?.code;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new PenstockError('REPO_FULL', message, { cause: thrown, errno });
  }
  if (errno === 'EROFS')
    return new PenstockError('REPO_READ_ONLY', message, { cause: thrown, errno });
  if (typeof errno === 'string' && /^E[A-Z0-9]+$/.test(errno)) {
    return new PenstockError('HOST_IO', message, { cause: thrown, errno });
  }
  const wrapped = new PenstockError('INTERNAL', message, { cause: thrown });
  if (thrown instanceof Error && thrown.stack !== undefined) wrapped.stack = thrown.stack;
  return wrapped;
}
