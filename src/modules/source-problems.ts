/**
 * Why items of a source are not, or not wholly, in an archive: what the scan and the walk tell.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { type ErrorRecord, PenstockError, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type FileStatus, ioError } from '../host/files-only.ts';
import type { ModuleContext } from '../pipe/mod.ts';

/** A warning about one item. */
export interface SourceProblem {
  readonly path: ByteString;
  readonly error: ErrorRecord;
  readonly omitted: boolean;
}

/** Tells the initiator; `path` is absolute. */
export function postProblem(
  context: ModuleContext,
  path: ByteString,
  error: ErrorRecord,
  omitted: boolean,
): void {
  const problem: SourceProblem = { path, error, omitted };
  context.post({ type: 'problem', problem });
}

/** Tells of an item that is left out because the system refused a call. */
export function postFailure(
  context: ModuleContext,
  path: ByteString,
  result: number,
  call: string,
): void {
  postProblem(context, path, toErrorRecord(sourceFailure(path, result, call)), true);
}

/** A call that the system refused; `result` is its negative error number. */
function sourceFailure(path: ByteString, result: number, call: string): PenstockError {
  const { errno = '', message } = ioError(result, call, path);
  const details = { subject: path, errno };
  const changed =
    errno === 'ENOENT'
      ? 'vanished'
      : errno === 'ENOTDIR' || errno === 'ELOOP'
        ? 'became another kind of entry'
        : undefined;
  if (changed === undefined) return new PenstockError('SOURCE_UNREADABLE', message, details);
  const text = `${changed} while it was read: ${toDisplay(path)}`;
  return new PenstockError('SOURCE_CHANGED', text, details);
}

/** Why an entry cannot be stored: some file systems have names and sizes that the format has not. */
export function beyondLimits(
  status: FileStatus,
  name: ByteString,
  path: ByteString,
): PenstockError | undefined {
  if (name.length <= LIMITS.nameBytesMax && status.size <= Number.MAX_SAFE_INTEGER)
    return undefined;
  const what = status.size > Number.MAX_SAFE_INTEGER ? 'size' : 'name';
  return new PenstockError('LIMIT', `has a ${what} beyond what is stored: ${toDisplay(path)}`);
}

/** Why a directory is not entered; its paths could not be stored. */
export function tooDeep(path: ByteString, depth: number): PenstockError | undefined {
  if (depth < LIMITS.depthMax && path.length <= LIMITS.leafBytesMin) return undefined;
  const message = `the path is too long or too deep: ${toDisplay(path.slice(0, 200))}…`;
  return new PenstockError('LIMIT', message);
}
