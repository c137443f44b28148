/**
 * Bytes of objects and chunks between a request and a file: streamed, never collected.
 *
 * Contract: what arrives is bounded and written as it comes; a client that goes away in between is
 * an error, not an end. What is sent is read into memory that is used again.
 */
import { fsync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openFiles } from '../host/mod.ts';

const fsyncLater = promisify(fsync);

/** Makes a file durable beside other requests. REPO_FULL, REPO_IO. */
export async function syncLater(fd: number): Promise<void> {
  try {
    await fsyncLater(fd);
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'REPO_FULL' : 'REPO_IO';
    throw new PenstockError(code, `cannot sync what was written: ${errno}`, { cause, errno });
  }
}

/**
 * Hands each piece of a request's body to `write`, which must not keep it; returns the bytes in all.
 * LIMIT, NET_LOST.
 */
export function receiveBody(
  request: IncomingMessage,
  bytesMax: number,
  write: (piece: Buffer, position: number) => void,
): Promise<number> {
  const announced = Number(request.headers['content-length'] ?? 0);
  const tooLong = (): PenstockError =>
    new PenstockError('LIMIT', `a body has more than ${bytesMax} bytes`);
  if (announced > bytesMax) return Promise.reject(tooLong());
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const fail = (error: unknown): void => {
      request.off('data', receive);
      request.resume();
      reject(error);
    };
    const receive = (piece: Buffer): void => {
      try {
        if (bytes + piece.length > bytesMax) throw tooLong();
        const { length } = piece;
        write(piece, bytes);
        bytes += length;
        giveBack(piece);
      } catch (error) {
        fail(error);
      }
    };
    request.on('data', receive);
    request.once('end', () => resolve(bytes));
    const gone = (): void =>
      reject(new PenstockError('NET_LOST', 'the client went away while it was sending'));
    request.once('error', gone);
    request.once('close', gone);
  });
}

/**
 * Gives the memory of a piece back that nobody looks at any more; it is empty afterwards. Left to the collector
 * of garbage, what comes in a second makes it look through everything several times: that was half of the
 * processor time of a server to which chunks are sent.
 */
function giveBack({ buffer, byteLength }: Buffer): void {
  // A piece of something larger is not its own.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** Memory that is used again: fresh pages are dear. */
const spare: Buffer[] = [];

/** Sends `length` bytes of an open file as the body of an answer whose head was written. */
export async function sendFile(
  response: ServerResponse,
  fd: number,
  position: number,
  length: number,
): Promise<void> {
  const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.fileSendBytes);
  let at = position;
  const end = position + length;
  try {
    while (at < end && !response.destroyed) {
      const got = openFiles().read(fd, buffer, 0, Math.min(buffer.length, end - at), at);
      // The head has said how many bytes follow: only a broken connection can say that they do not.
      if (got <= 0) {
        response.destroy();
        return;
      }
      at += got;
      if (!(await written(response, buffer.subarray(0, got)))) return;
    }
    response.end();
  } finally {
    if (response.destroyed) spare.length = 0;
    else if (spare.length < LIMITS.fileSendBuffersMax) spare.push(buffer);
  }
}

/** Resolves once the bytes are out and their memory is free again; false when nobody takes them. */
function written(response: ServerResponse, bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (taken: boolean): void => {
      response.off('close', gone);
      resolve(taken);
    };
    const gone = (): void => end(false);
    response.once('close', gone);
    response.write(bytes, (error) => end(error === null || error === undefined));
  });
}
