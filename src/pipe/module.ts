/**
 * What a module is, and what it is given (P5, P7, P15).
 *
 * A module file exports by default a PipeModule, or a function of its options that makes one. Its code is
 * synchronous, except that `open` and `close` may return promises, and `runAsync` does. The stage runner (runner.ts) calls,
 * in this order: `open`; then for a head `fill` or `run`, for other stages `process` or `run` (or, as the
 * first module of either, `runAsync`); `close`.
 * Once the pipe stops or a call has thrown, `abort` is called on each module whose `close` is not done,
 * whether or not it was opened.
 * Modules of one stage run one after the other in one thread: what one sends, the next processes.
 */
import type { MessagePort, Transferable } from 'node:worker_threads';
import type { PipeBuffer } from './buffer.ts';
import type { Segment } from './segment.ts';

export interface PipeModule {
  open?(context: ModuleContext): void | Promise<void>;
  /**
   * Head: fills the payload and sets `length`. False ends the input; the buffer is sent all the same,
   * empty or partly filled (P3), so every later module must accept an empty buffer.
   */
  fill?(buffer: PipeBuffer): boolean;
  /** Drives the primitives itself until the input ends (head: until there is nothing more to send). */
  run?(context: ModuleContext): void;
  /**
   * As `run`, beside an event loop: for modules of sockets and timers. It waits with the primitives whose
   * names end in `Later`, never with the others; control messages come between its steps. Once the pipe
   * stops nobody waits for it any more: what its sockets and timers then do must not throw.
   */
  runAsync?(context: ModuleContext): Promise<void>;
  /**
   * Other stages. What is returned goes to the next module or stage, from the last module of a tail to
   * the free pool; `undefined` means the same buffer. Null: the module has sent or freed it itself.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a module may simply return nothing
  process?(buffer: PipeBuffer): PipeBuffer | null | undefined | void;
  /**
   * A message from the initiator, between buffers or while waiting. What it returns or throws is the
   * acknowledgement. It must not receive.
   */
  control?(message: unknown, context: ModuleContext): unknown;
  /** The input has ended; may still allocate and send. */
  close?(): void | Promise<void>;
  /** The pipe stops: releases what lies outside of it. Must not wait. */
  abort?(): void;
}

export type PipeModuleFactory = (options: never) => PipeModule | Promise<PipeModule>;

export interface ModuleContext {
  readonly pipe: string;
  readonly stage: string;
  /** Number of this instance within its stage, and how many there are. */
  readonly instance: number;
  readonly instances: number;
  readonly options: unknown;
  readonly segment: Segment;
  /** Private scratch memory of `windowBytes`, page-aligned, shared by the modules of the instance. */
  readonly window: Buffer;
  /** Words shared by all modules of the pipe. */
  readonly sharedWords: Int32Array;
  /** Buffers that this instance may hold of those that it allocates. */
  readonly share: number;
  /** Direct ports to instances of linked stages: by stage name where it has one, else `stage.number`. */
  readonly ports: Readonly<Record<string, MessagePort>>;
  /** What the stage's `workerData` says, cloned. */
  readonly workerData: unknown;
  allocBuf(): PipeBuffer;
  /** As `allocBuf` and `receiveBuf`, for `runAsync`. */
  allocBufLater(): Promise<PipeBuffer>;
  receiveBufLater(): Promise<PipeBuffer | null>;
  tryAllocBuf(): PipeBuffer | null;
  receiveBuf(): PipeBuffer | null;
  sendBuf(buffer: PipeBuffer, stage?: string): void;
  freeBuf(buffer: PipeBuffer): void;
  /** Lets `target` take the place of `source` in the order (several parts: all but the last `false`). */
  inherit(target: PipeBuffer, source: PipeBuffer, last?: boolean): void;
  /** Gives a buffer of a head that `carries` its number: 1 and on, each once, in any order. */
  carry(buffer: PipeBuffer, sequence: number): void;
  /**
   * Carried numbers may be at most so far ahead of those that have passed, so that the bearer of the
   * lowest missing one always finds a buffer; Infinity where no later stage asks for order.
   */
  readonly carriedMax: number;
  /** How many carried numbers have passed; 0 where no later stage asks for order. */
  passed(about: number): number;
  /** Resolves with that count once it is no longer `seen`. */
  passedLater(seen: number): Promise<number>;
  /** The next number of a stage. */
  sequenceNext(stage: string): number;
  /** Answers control messages and notices a stop: for long work between primitives. */
  notice(): void;
  /** Waits until a shared word is no longer `value`; who changes one calls `notifyShared`. */
  whileShared(index: number, value: number): void;
  notifyShared(): void;
  /** Adds to one of 16 counters that the initiator sums. */
  progress(counter: number, by: number): void;
  /** Sends a message to the initiator. */
  post(message: unknown, transfer?: readonly Transferable[]): void;
  /** Reports what went wrong without ending the pipe. */
  warn(record: unknown): void;
  /** Asks the initiator to stop the pipe. */
  stopPipe(reason: string): void;
}
