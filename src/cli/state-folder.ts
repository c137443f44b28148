/**
 * Making the state folder. Apart from state.ts, which every command line loads: this one needs the
 * machine's files.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { CWD, errnoName, ioError, openFiles } from '../host/mod.ts';

/**
 * Makes the state folder and what is above it, for its owner only. May be called again. One folder at
 * a time: Node's own recursive call never ends where a file system answers ENOENT, as /proc does.
 */
export function ensureStateDirectory(directory: ByteString): void {
  const files = openFiles();
  for (let end = 1; end <= directory.length; end++) {
    if (end < directory.length && directory[end] !== '/') continue;
    const made = files.makeDirectory(CWD, directory.slice(0, end), 0o700);
    if (made >= 0 || errnoName(made) === 'EEXIST') continue;
    const { message, errno } = ioError(made, 'make the state folder', directory);
    throw new PenstockError('HOST_IO', message, {
      subject: directory,
      hint: 'name another folder with --state or PENSTOCK_STATE',
      ...(errno === undefined ? {} : { errno }),
    });
  }
}
