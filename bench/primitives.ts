/**
 * What the native primitives alone cost for each byte of a file: the bound that no arrangement of them
 * can beat, cores ÷ the sum of their times.
 *
 * Contract: one thread; memory that was touched before and is used again, as the pipe uses it; block
 * by block as the modules do it. What is stored as it is is not compressed, and sealing, checksum and
 * writing count for the bytes that are left after compression.
 */
import { LIMITS } from '../src/base/limits.ts';
import { CWD, openCodec, openFiles } from '../src/host/mod.ts';
import { Cutter, GEAR_BYTES } from '../src/modules/cutter.ts';

export interface PrimitiveTimes {
  /** Nanoseconds for each byte of the file. */
  readonly read: number;
  readonly cut: number;
  readonly hash: number;
  readonly compress: number;
  readonly seal: number;
  readonly crc: number;
  readonly write: number;
  readonly sum: number;
}

const SAMPLE_BYTES = 64 * 1024 * 1024;
const BLOCK_BYTES: number = LIMITS.blockRawBytesDefault;
const READ_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 64 * 1024;
const LEVEL = 2;
/** Each is repeated for at least so long. */
const LEAST_MS = 400;

/** Measures with the bytes of a file; `scratch` is a path at which a file may be written. */
export function measurePrimitives(
  path: string,
  scratch: string,
  compresses: boolean,
): PrimitiveTimes {
  const files = openFiles();
  const codec = openCodec(Buffer.alloc(32, 1));
  const pages = Math.ceil((GEAR_BYTES + SAMPLE_BYTES) / PAGE_BYTES) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const sampleAt = PAGE_BYTES;
  const view = Buffer.from(memory.buffer);
  const cutter = new Cutter(memory, 0, Buffer.alloc(32, 2), LIMITS.cutBytesMax);
  const packed = Buffer.alloc(BLOCK_BYTES, 1);
  const digest = Buffer.alloc(32);
  const key = Buffer.alloc(32, 3);
  const associated = Buffer.alloc(28, 4);
  const fd = files.openRead(CWD, path);
  const length = files.read(fd, view, sampleAt, SAMPLE_BYTES, 0);
  const eachBlock = (act: (at: number, bytes: number) => void): void => {
    for (let at = 0; at < length; at += BLOCK_BYTES) {
      act(sampleAt + at, Math.min(BLOCK_BYTES, length - at));
    }
  };

  const read = nanosPerByte(length, () => {
    for (let at = 0; at < length; at += READ_BYTES) {
      files.read(fd, view, sampleAt + at, Math.min(READ_BYTES, length - at), at);
    }
  });
  const cut = nanosPerByte(length, () => {
    for (let at = 0; at < length; ) at += cutter.next(sampleAt + at, length - at);
  });
  const hash = nanosPerByte(length, () =>
    eachBlock((at, bytes) => codec.hash.digestInto(view, at, bytes, digest, 0)),
  );
  let stored = length;
  const compress = !compresses
    ? 0
    : nanosPerByte(length, () => {
        stored = 0;
        eachBlock((at, bytes) => {
          const got = codec.compress(view, at, bytes, packed, 0, bytes - 1, LEVEL);
          stored += got < 0 ? bytes : got;
        });
      });
  const share = stored / length;
  const seal = nanosPerByte(length, () =>
    eachBlock((at, bytes) => codec.seal(key, associated, view, at, bytes, digest.subarray(0, 16))),
  );
  const crc = nanosPerByte(length, () => eachBlock((at, bytes) => codec.crc32c(view, at, bytes)));
  const write = nanosPerByte(length, () => {
    const out = files.createExclusive(CWD, scratch, 0o600);
    eachBlock((at, bytes) => files.write(out, view, at, bytes, at - sampleAt));
    files.sync(out);
    files.close(out);
    files.remove(CWD, scratch);
  });
  files.close(fd);
  codec.close();
  const times = {
    read,
    cut,
    hash,
    compress,
    seal: seal * share,
    crc: crc * share,
    write: write * share,
  };
  return { ...times, sum: Object.values(times).reduce((sum, one) => sum + one, 0) };
}

function nanosPerByte(bytes: number, act: () => void): number {
  act();
  const startedMs = performance.now();
  let times = 0;
  while (performance.now() - startedMs < LEAST_MS) {
    act();
    times++;
  }
  return ((performance.now() - startedMs) * 1e6) / (times * bytes);
}
