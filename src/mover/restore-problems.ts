/**
 * What could not be restored: counted, and told to the caller item by item.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { type ErrorCode, PenstockError } from '../base/errors.ts';
import { ioError } from '../host/mod.ts';
import type { MetadataKind, MetadataRefusals } from '../modules/file-metadata.ts';

export class RestoreProblems {
  count = 0;
  readonly #tell: (path: ByteString, error: PenstockError) => void;

  constructor(tell: (path: ByteString, error: PenstockError) => void) {
    this.#tell = tell;
  }
  /** `message` names the path. */
  add(path: ByteString, code: ErrorCode, message: string, hint?: string): void {
    this.#add(
      path,
      new PenstockError(code, message, { subject: path, ...(hint === undefined ? {} : { hint }) }),
    );
  }
  /** An error that names what it concerns. */
  tell(path: ByteString, error: PenstockError): void {
    this.#add(path, error);
  }
  unlinked(path: ByteString, to: ByteString): void {
    const message = `cannot link ${toDisplay(path)} to ${toDisplay(to)}, which was not restored`;
    this.add(path, 'RESTORE_PARTIAL', message);
  }
  /** A call of the system that was refused; `result` is its negative error number. */
  failed(path: ByteString, result: number, call: string): void {
    const error = ioError(result, call, path);
    const details = {
      cause: error,
      subject: path,
      ...(error.errno === undefined ? {} : { errno: error.errno }),
    };
    this.#add(path, new PenstockError('RESTORE_PARTIAL', error.message, details));
  }
  /** The same, told by a thread of the pipe by its name. */
  refused(path: ByteString, errno: string, call: string): void {
    const message = `cannot ${call} ${toDisplay(path)}: ${errno}`;
    this.#add(path, new PenstockError('RESTORE_PARTIAL', message, { errno, subject: path }));
  }
  #add(path: ByteString, error: PenstockError): void {
    this.count++;
    this.#tell(path, error);
  }
}

/** Sums what several writers of metadata were refused. */
export function mergeRefusals(all: readonly MetadataRefusals[]): MetadataRefusals {
  const merged: MetadataRefusals = {};
  for (const refusals of all) {
    for (const kind of Object.keys(refusals) as MetadataKind[]) {
      const refusal = refusals[kind];
      const known = merged[kind];
      if (refusal === undefined) continue;
      if (known === undefined) merged[kind] = { ...refusal };
      else known.count += refusal.count;
    }
  }
  return merged;
}
