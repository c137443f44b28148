/**
 * The door of host/ for threads that only touch files and send them: what mod.ts has besides (codecs, random numbers, the
 * process) is not loaded. Of a thread that lives for a second, loading code is a good part.
 */
import { PenstockError } from '../base/errors.ts';
import { faultyByEnvironment } from './fake/faulty-files.ts';
import { DirectoryListing } from './file-status.ts';
import type { Files } from './files.ts';
import { loadLibc } from './native/libc.ts';
import { LinuxFiles } from './native/linux-files.ts';

export type { Clock } from './clock.ts';
export { openClock } from './clock.ts';
export { checked, ERRNO, errnoName, errnoNumber, errnoText, ioError } from './errno.ts';
export type { FileStatusFields, Kind } from './file-status.ts';
export { DirectoryListing, FileStatus, KIND } from './file-status.ts';
export type { Attribute, Files } from './files.ts';
export { CWD, NO_ATTRIBUTES } from './files.ts';
export { hkdfSha256 } from './key-material.ts';
export type { MessageOpener, MessageSealer } from './message-cipher.ts';
export { openMessageOpener, openMessageSealer } from './message-cipher.ts';
export { crc32cOf, crcOf } from './native/hash.ts';

let files: Files | undefined;

/**
 * The files of this machine; one instance a thread, made at the first call. With PENSTOCK_TEST=1
 * they fail as PENSTOCK_FAULT says (fake/fault-script.ts).
 *
 * @throws PenstockError NOT_SUPPORTED on other systems than Linux on x64 or arm64
 */
export function openFiles(): Files {
  files ??=
    process.env.PENSTOCK_TEST === '1' ? faultyByEnvironment(openNativeFiles()) : openNativeFiles();
  return files;
}

/** An empty listing, to be filled by `Files.list` again and again. */
export function newListing(): DirectoryListing {
  return new DirectoryListing();
}

function openNativeFiles(): Files {
  const { arch, platform } = process;
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    throw new PenstockError(
      'NOT_SUPPORTED',
      `Penstock runs on Linux on x64 and arm64 only, this is ${platform} on ${arch}`,
    );
  }
  try {
    return new LinuxFiles(loadLibc(arch));
  } catch (thrown) {
    throw new PenstockError(
      'NOT_SUPPORTED',
      `the C library of this system cannot be called: ${(thrown as Error).message}`,
      { cause: thrown, hint: 'install the packages again with their optional dependencies' },
    );
  }
}
