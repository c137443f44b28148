/**
 * What runs at both ends of the tests' pipes across machines: a head that fills buffers of random sizes
 * with a pattern, and a tail that checks every byte of them and their order.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../src/base/assert.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../src/pipe/mod.ts';

export interface LoadOptions {
  /** Buffers that a head makes; undefined: a tail. */
  readonly count?: number;
  readonly seed?: number;
  readonly ordered?: boolean;
  /** A tail that takes so long for each buffer. */
  readonly slowMs?: number;
  /** It fails at this buffer. */
  readonly failsAt?: number;
  /** Its thread ends there without a word. */
  readonly exitsAt?: number;
  /** The number to begin with. */
  readonly from?: number;
  /** A tail runs in one stage with what it gets its buffers from. */
  readonly fused?: boolean;
  /** A head goes on from this number only when a file of this name is there, or it was told something. */
  readonly heldAt?: number;
  readonly heldUntil?: string;
  /** A tail says after so many buffers that all before is safe. */
  readonly safeEvery?: number;
}

export const LOAD_MODULE: URL = new URL(import.meta.url);

const NAP: Int32Array<SharedArrayBuffer> = new Int32Array(new SharedArrayBuffer(4));
const NAP_MS = 5;

const WORD = { number: 0, salt: 1, headerBytes: 2, directoryBytes: 3 } as const;

export const LOAD_WORDS = {
  headerBytesWord: WORD.headerBytes,
  directoryBytesWord: WORD.directoryBytes,
} as const;

export default function load(options: LoadOptions): PipeModule {
  if (options.count === undefined) return tail(options);
  const { count, seed = 1, failsAt = -1, exitsAt = -1, from = 0, heldUntil } = options;
  const { heldAt = Number.POSITIVE_INFINITY } = options;
  const told: unknown[] = [];
  const isHeld = (): boolean =>
    heldUntil === undefined ? told.length === 0 : !existsSync(heldUntil);
  let context: ModuleContext | undefined;
  return {
    control: (message) => {
      told.push((message as { value: unknown }).value);
    },
    close() {
      if (told.length > 0) context?.post({ told });
    },
    run(given: ModuleContext) {
      context = given;
      let state = seed;
      const random = (below: number): number => {
        state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
        return (state >> 7) % below;
      };
      for (let number = from + given.instance; number < count; number += given.instances) {
        assert(number !== failsAt, 'the head fails when it is told to');
        if (number === exitsAt) process.exit(1);
        while (number >= heldAt && isHeld()) {
          Atomics.wait(NAP, 0, 0, NAP_MS);
          given.notice();
        }
        const buffer = given.allocBuf();
        buffer.setWord(WORD.number, number);
        buffer.setWord(WORD.salt, random(1 << 30));
        buffer.setWord(WORD.headerBytes, random(8) === 0 ? random(4097) : random(100));
        buffer.setWord(WORD.directoryBytes, random(buffer.directoryCapacity + 1));
        buffer.kind = number & 0xffff;
        buffer.length = random(20) === 0 ? 0 : random(buffer.payloadCapacity + 1);
        for (const part of partsOf(buffer)) pattern(buffer).copy(part);
        given.sendBuf(buffer);
      }
    },
  };
}

/** Bytes that belong to a buffer's number and salt, as many as its largest part. */
function pattern(buffer: PipeBuffer): Buffer {
  const key = `${buffer.word(WORD.number)} ${buffer.word(WORD.salt)}`;
  const block = createHash('sha512').update(key).digest();
  return Buffer.alloc(Math.max(buffer.payloadCapacity, 4096, buffer.directoryCapacity), block);
}

function partsOf(buffer: PipeBuffer): Buffer[] {
  return [
    buffer.header().subarray(buffer.headerRoom - buffer.word(WORD.headerBytes)),
    buffer.payload().subarray(0, buffer.length),
    buffer.directory().subarray(0, buffer.word(WORD.directoryBytes)),
  ];
}

function tail(options: LoadOptions): PipeModule {
  const { ordered = false, slowMs = 0, failsAt = -1, exitsAt = -1, from = 0 } = options;
  const seen: number[] = [];
  const take = (context: ModuleContext, buffer: PipeBuffer): void => {
    const number = buffer.word(WORD.number);
    assert(number !== failsAt, 'the tail fails when it is told to');
    if (number === exitsAt) process.exit(1);
    if (ordered) assert(number === from + seen.length, `${number} is the next`);
    assert(buffer.kind === (number & 0xffff), 'the kind has travelled');
    for (const part of partsOf(buffer)) {
      assert(part.equals(pattern(buffer).subarray(0, part.length)), `all of ${number} is intact`);
    }
    seen.push(number);
    context.progress(0, 1);
    context.freeBuf(buffer);
    if (seen.length % (options.safeEvery ?? Number.POSITIVE_INFINITY) === 0) {
      context.post({ safe: from + seen.length });
    }
  };
  if (options.fused === true) return fusedTail(take, seen);
  return {
    async runAsync(context) {
      for (;;) {
        const buffer = await context.receiveBufLater();
        if (buffer === null) break;
        if (slowMs > 0) await sleep(slowMs);
        take(context, buffer);
      }
      context.post(seen);
    },
    control: () => seen.length,
  };
}

/** The same, behind another module of its stage. */
function fusedTail(
  take: (context: ModuleContext, buffer: PipeBuffer) => void,
  seen: readonly number[],
): PipeModule {
  let context: ModuleContext | undefined;
  return {
    open(given) {
      context = given;
    },
    process(buffer) {
      assert(context !== undefined, 'it was opened');
      take(context, buffer);
      return null;
    },
    close: () => context?.post(seen),
  };
}
