/**
 * What the system's answers mean for a repository in a directory.
 */
import { PenstockError } from '../base/errors.ts';
import { errnoName } from '../host/mod.ts';

/** An error of the storage, by the system's answer. */
export function storeError(result: number, call: string, subject: string): PenstockError {
  const errno = errnoName(-result);
  const message = `cannot ${call} ${subject}: ${errno}`;
  const details = { errno, subject };
  if (errno === 'ENOSPC' || errno === 'EDQUOT')
    return new PenstockError('REPO_FULL', message, details);
  if (errno === 'EROFS' || errno === 'EACCES' || errno === 'EPERM') {
    return new PenstockError('REPO_READ_ONLY', message, details);
  }
  if (errno === 'ENOENT') return new PenstockError('OBJECT_MISSING', message, details);
  return new PenstockError('REPO_IO', message, details);
}

/** The same of a call that only reads: what may not be read is not what may not be written. */
export function readError(result: number, call: string, subject: string): PenstockError {
  const error = storeError(result, call, subject);
  if (error.code !== 'REPO_READ_ONLY') return error;
  return new PenstockError('REPO_IO', error.message, { errno: error.errno ?? '' });
}
