/**
 * Reads a file that holds one secret: a passphrase, a secret of CHAP.
 *
 * Contract: it never blocks in the system, for it may be a FIFO, as in
 * `PENSTOCK_PASSPHRASE_FILE=<(pass show backup)`. At most a little more than LIMITS.passphraseBytesMax is
 * read; one line end at the end is no part of it. Errors are the system's.
 */
import { close, constants, fstat, open, read } from 'node:fs';
import { promisify } from 'node:util';
import { type ByteString, toBytes } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { withoutLineEnd } from './line-end.ts';

export interface SecretFile {
  /** The caller fills it with zeros after use. */
  readonly bytes: Buffer;
  /** Other users of this machine can read it. */
  readonly isExposed: boolean;
}

const POLL_MS = 20;

export async function readSecretFile(file: ByteString, signal: AbortSignal): Promise<SecretFile> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  const fd = await promisify(open)(toBytes(file), flags);
  try {
    const { mode } = await promisify(fstat)(fd);
    const isExposed = (mode & constants.S_IFMT) === constants.S_IFREG && (mode & 0o044) !== 0;
    return { bytes: withoutLineEnd(await readAll(fd, signal)), isExposed };
  } finally {
    await promisify(close)(fd);
  }
}

/** Reads to the end, or just beyond the longest secret. */
async function readAll(fd: number, signal: AbortSignal): Promise<Buffer> {
  const buffer = Buffer.alloc(LIMITS.passphraseBytesMax + 3);
  let length = 0;
  while (length < buffer.length) {
    signal.throwIfAborted();
    try {
      const { bytesRead } = await promisify(read)(fd, buffer, length, buffer.length - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    } catch (error) {
      // The writer of a FIFO has nothing for us yet.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
  const secret = Buffer.from(buffer.subarray(0, length));
  buffer.fill(0);
  return secret;
}
