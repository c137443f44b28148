/**
 * Files without a name, for what does not fit memory: nothing of them is left, however the process ends.
 */
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRandom } from '../host/mod.ts';

/** An open handle for reading and writing. Whoever opens closes. */
export function openNamelessFile(): number {
  const path = join(tmpdir(), `penstock-${openRandom().bytes(12).toString('hex')}`);
  const fd = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return fd;
}

/** A handle of one's own to a file that another thread has open. */
export function reopenFile(fd: number): number {
  return openSync(`/proc/self/fd/${fd}`, 'r+');
}

export function closeFile(fd: number): void {
  closeSync(fd);
}
