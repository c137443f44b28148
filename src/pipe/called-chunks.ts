/**
 * Chunks that another thread of this process keeps (a remote repository's net thread, a drive's), for
 * the threads of pipes (format/chunk-media.ts): synchronous calls over shared memory
 * (call-memory.ts), which that thread, the server, answers.
 *
 * Contract: what is written is copied to a slot and sent while the caller goes on; what became of it
 * is told by a later write, and at the latest by the commit. Of what is read in order, the next
 * parts are fetched ahead. Nobody waits for ever: the server gives every call up at its limits, and
 * whoever waits notices when the server itself is gone.
 */
import { randomBytes } from 'node:crypto';
import { must } from '../base/assert.ts';
import { codeFile } from '../base/code-file.ts';
import {
  type ErrorCode,
  type ErrorRecord,
  fromErrorRecord,
  PenstockError,
} from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type {
  ChunkCommit,
  ChunkMedia,
  ChunkRange,
  ChunkSink,
  ChunkSource,
} from '../format/chunk-media.ts';
import { CALL, CallMemory, FAILED, STATE } from './call-memory.ts';
import { PlannedReads } from './planned-reads.ts';

export interface CalledChunksOptions {
  readonly memory: SharedArrayBuffer;
  /** What is thrown when the server has ended. */
  readonly gone: { readonly code: ErrorCode; readonly message: string };
  /** What one `write` gets is handed on alone, not together with what follows it. */
  readonly wholeWrites?: boolean;
  /** The server tells by itself when a chunk has become durable. */
  readonly tellsDurable?: boolean;
  /** The server says in which order is read best. */
  readonly tellsOrder?: boolean;
}

/** No sink, for calls that have none. */
const NO_SINK = 0;
const NO_SESSION = Buffer.alloc(16);

/** URL of this file and options, for threads that open such chunks. */
export function calledChunks(options: CalledChunksOptions): { module: string; options: unknown } {
  return { module: codeFile('pipe/called-chunks').href, options };
}

export default function openCalledChunks(options: unknown): ChunkMedia {
  return new CalledChunks(options as CalledChunksOptions);
}

/** A part of a chunk that was asked for ahead. */
interface Ahead {
  readonly slot: number;
  readonly position: number;
  readonly length: number;
}

class CalledChunks implements ChunkMedia {
  readonly calls: Calls;
  readonly planned: PlannedReads;
  readonly nextReads?: (ranges: readonly ChunkRange[]) => readonly number[];
  readonly #sinks = new Set<CalledSink>();
  /** The source that is read in order, if one is: only one has parts fetched ahead. */
  reading: CalledSource | undefined;

  constructor(options: CalledChunksOptions) {
    this.calls = new Calls(options, () => this.#letGo());
    this.planned = new PlannedReads(this.calls);
    if (options.tellsOrder === true) this.nextReads = (ranges) => this.#nextReads(ranges);
  }

  #nextReads(ranges: readonly ChunkRange[]): readonly number[] {
    this.reading?.dropAhead();
    return this.planned.ask(ranges);
  }

  /** Gives back what can be done without, when there is no slot left. */
  #letGo(): void {
    this.reading?.dropAhead();
    this.planned.drop();
    for (const sink of this.#sinks) sink.flush();
  }

  create(id: string): ChunkSink {
    const sink = new CalledSink(this.calls, idBytes(id), (over) => this.#sinks.delete(over));
    this.#sinks.add(sink);
    return sink;
  }

  open(id: string): ChunkSource {
    const chunk = idBytes(id);
    const bytes = this.calls.call(CALL.open, NO_SINK, chunk, NO_SESSION, 0, 0);
    return new CalledSource(this, id, chunk, bytes);
  }

  close(): void {
    this.reading?.dropAhead();
    this.planned.drop();
  }
}

/** Calls of one thread. */
class Calls {
  readonly memory: CallMemory;
  readonly wholeWrites: boolean;
  readonly tellsDurable: boolean;
  readonly #gone: CalledChunksOptions['gone'];
  readonly #letGo: () => void;

  constructor(options: CalledChunksOptions, letGo: () => void) {
    const { memory, gone, wholeWrites, tellsDurable } = options;
    this.memory = new CallMemory(memory);
    this.wholeWrites = wholeWrites === true;
    this.tellsDurable = tellsDurable === true;
    this.#gone = gone;
    this.#letGo = letGo;
  }

  gone(): PenstockError {
    return new PenstockError(this.#gone.code, this.#gone.message);
  }
  errorOf(text: string): PenstockError {
    try {
      return fromErrorRecord(JSON.parse(text) as ErrorRecord);
    } catch {
      return this.gone();
    }
  }

  /** A slot for a call; for a write only when not too many are under way. */
  acquire(isWrite: boolean): number {
    const { memory } = this;
    const patience = new Patience(this);
    for (let round = 0; ; round++) {
      const seen = memory.freed;
      if (memory.isEnded) throw this.gone();
      if (!isWrite || memory.mayWrite) {
        const slot = memory.acquire();
        if (slot >= 0) return slot;
        if (round === 0) {
          this.#letGo();
          continue;
        }
      }
      patience.check(memory.waitFreed(seen, LIMITS.callWaitMs));
    }
  }

  /** Makes a call and waits for its result. */
  call(
    kind: number,
    sink: number,
    chunk: Buffer,
    session: Buffer,
    position: number,
    length: number,
  ): number {
    const slot = this.acquire(false);
    this.memory.submit(slot, kind, sink, chunk, session, position, length);
    try {
      return this.await(slot);
    } finally {
      this.memory.free(slot);
    }
  }

  /** The result of a call; its slot is the caller's again. */
  await(slot: number): number {
    const { memory } = this;
    const patience = new Patience(this);
    for (;;) {
      const state = memory.state(slot);
      if (state === STATE.done) break;
      if (memory.isEnded) throw this.gone();
      patience.check(memory.waitState(slot, state, LIMITS.callWaitMs));
    }
    const result = memory.result(slot);
    if (result === FAILED) throw this.errorOf(memory.error(slot));
    return result;
  }

  /** Waits until all writes of a sink are answered. */
  drain(sink: number): void {
    const { memory } = this;
    const patience = new Patience(this);
    for (;;) {
      const pending = memory.pending(sink);
      if (pending === 0) return;
      if (memory.isEnded) throw this.gone();
      patience.check(memory.waitPending(sink, pending, LIMITS.callWaitMs));
    }
  }
}

/** Notices when the server stands still. */
class Patience {
  readonly #calls: Calls;
  #beat: number;
  #waits = 0;

  constructor(calls: Calls) {
    this.#calls = calls;
    this.#beat = calls.memory.beat;
  }

  /** After each wait: whether anything has changed meanwhile. Others may be served all the time. */
  check(hasChanged: boolean): void {
    if (hasChanged) return;
    const { beat } = this.#calls.memory;
    if (beat !== this.#beat) {
      this.#beat = beat;
      this.#waits = 0;
    } else if (++this.#waits > LIMITS.callSilentWaitsMax) throw this.#calls.gone();
  }
}

class CalledSink implements ChunkSink {
  readonly commitLater?: () => ChunkCommit;
  readonly #calls: Calls;
  readonly #chunk: Buffer;
  /** Known to the server as the word of whoever writes this chunk. */
  readonly #session: Buffer = randomBytes(16);
  readonly #sink: number;
  readonly #over: (sink: CalledSink) => void;
  /** The slot that is being filled, -1: none; where it begins in the chunk, and how full it is. */
  #slot = -1;
  #start = 0;
  #length = 0;
  #bytes = 0;
  #isOver = false;

  constructor(calls: Calls, chunk: Buffer, over: (sink: CalledSink) => void) {
    this.#calls = calls;
    this.#chunk = chunk;
    this.#over = over;
    if (calls.tellsDurable) this.commitLater = () => this.#commitLater();
    this.#sink = calls.memory.acquireSink();
    if (this.#sink < 0) throw new PenstockError('LIMIT', 'too many chunks are being written');
  }

  write(view: Uint8Array, offset: number, length: number, position: number): void {
    const { memory } = this.#calls;
    this.#throwFailure();
    for (let done = 0; done < length; ) {
      const at = position + done;
      if (this.#slot >= 0 && at !== this.#start + this.#length) this.flush();
      if (this.#slot < 0) {
        this.#slot = this.#calls.acquire(true);
        this.#start = at;
        this.#length = 0;
      }
      const room = memory.partBytesMax - this.#length;
      const count = Math.min(room, length - done);
      memory.bytes.set(
        view.subarray(offset + done, offset + done + count),
        memory.dataAt(this.#slot) + this.#length,
      );
      this.#length += count;
      done += count;
      if (this.#length >= memory.partBytesMax) this.flush();
    }
    if (this.#calls.wholeWrites) this.flush();
    this.#bytes = Math.max(this.#bytes, position + length);
  }

  /** Sends what was collected. */
  flush(): void {
    if (this.#slot < 0) return;
    this.#submit(CALL.write);
    this.#slot = -1;
  }
  #submit(call: number): void {
    this.#calls.memory.submit(
      this.#slot,
      call,
      this.#sink,
      this.#chunk,
      this.#session,
      this.#start,
      this.#length,
    );
  }
  #throwFailure(): void {
    const failure = this.#calls.memory.sinkError(this.#sink);
    if (failure !== undefined) throw this.#calls.errorOf(failure);
  }

  commit(): void {
    this.#complete();
    this.#makeDurable();
  }
  /** All parts have reached the server. */
  #complete(): void {
    this.flush();
    this.#calls.drain(this.#sink);
    this.#throwFailure();
  }
  #makeDurable(): void {
    this.#calls.call(CALL.commit, this.#sink, this.#chunk, this.#session, this.#bytes, 0);
    this.#end();
  }

  #commitLater(): ChunkCommit {
    this.#complete();
    return {
      isDone: () => this.#isDurable(),
      wait: () => {
        if (!this.#isDurable()) this.#makeDurable();
      },
    };
  }
  #isDurable(): boolean {
    if (this.#isOver) return true;
    const { memory } = this.#calls;
    if (memory.isDurable(this.#sink)) this.#end();
    else if (memory.isEnded) throw this.#calls.gone();
    return this.#isOver;
  }

  discard(): void {
    if (this.#isOver) return;
    if (this.#slot >= 0) this.#calls.memory.free(this.#slot);
    this.#slot = -1;
    try {
      this.#calls.drain(this.#sink);
      this.#calls.call(CALL.discard, this.#sink, this.#chunk, this.#session, 0, 0);
    } catch {
      // The server keeps it until it is swept: there is nobody to be told.
    }
    this.#end();
  }
  #end(): void {
    this.#isOver = true;
    this.#calls.memory.freeSink(this.#sink);
    this.#over(this);
  }
}

class CalledSource implements ChunkSource {
  readonly bytes: number;
  readonly #media: CalledChunks;
  readonly #id: string;
  readonly #chunk: Buffer;
  readonly #ahead: Ahead[] = [];
  /** Where the last read ended. */
  #end = -1;

  constructor(media: CalledChunks, id: string, chunk: Buffer, bytes: number) {
    this.#media = media;
    this.#id = id;
    this.#chunk = chunk;
    this.bytes = bytes;
  }

  read(view: Uint8Array, offset: number, length: number, position: number): number {
    const whole = Math.max(0, Math.min(length, this.bytes - position));
    const planned = this.#media.planned.read(this.#id, view, offset, length, position);
    if (planned !== undefined) return planned;
    const isOrdered = position === this.#end;
    if (!this.#fits(position)) this.dropAhead();
    let done = 0;
    while (done < whole) {
      const part = this.#part(position + done, whole - done, isOrdered);
      const { memory } = this.#media.calls;
      const from = position + done - part.position;
      const count = Math.min(whole - done, part.length - from);
      const at = memory.dataAt(part.slot) + from;
      view.set(memory.bytes.subarray(at, at + count), offset + done);
      done += count;
      if (from + count === part.length) this.#drop();
    }
    this.#end = position + whole;
    return whole;
  }

  /** Whether what was asked for ahead has the position, or begins there. */
  #fits(position: number): boolean {
    for (;;) {
      const first = this.#ahead[0];
      if (first === undefined || position < first.position) return first === undefined;
      if (position < first.position + first.length) return true;
      this.#drop();
    }
  }

  /** The fetched part in which a position lies; the ones behind it are asked for. */
  #part(position: number, wanted: number, isOrdered: boolean): Ahead {
    const { calls } = this.#media;
    const { memory } = calls;
    if (this.#media.reading !== this) {
      this.#media.reading?.dropAhead();
      this.#media.reading = this;
    }
    if (this.#ahead.length === 0) {
      const least = isOrdered ? memory.partBytesMax : wanted;
      this.#ask(calls.acquire(false), position, least);
    }
    if (isOrdered) this.#askAhead();
    const first = must(this.#ahead[0], 'a part was asked for');
    try {
      if (calls.await(first.slot) === first.length) return first;
      throw new PenstockError('NET_PROTOCOL', 'less came of a chunk than it has');
    } catch (error) {
      this.dropAhead();
      throw error;
    }
  }
  #askAhead(): void {
    const { memory } = this.#media.calls;
    while (this.#ahead.length < LIMITS.callReadAhead && memory.freeSlots > memory.slots / 2) {
      const last = must(this.#ahead.at(-1), 'a part was asked for');
      const next = last.position + last.length;
      if (next >= this.bytes) return;
      const slot = memory.acquire();
      if (slot < 0) return;
      this.#ask(slot, next, memory.partBytesMax);
    }
  }
  #ask(slot: number, position: number, wanted: number): void {
    const { memory } = this.#media.calls;
    const length = Math.min(wanted, memory.partBytesMax, this.bytes - position);
    memory.submit(slot, CALL.read, NO_SINK, this.#chunk, NO_SESSION, position, length);
    this.#ahead.push({ slot, position, length });
  }

  #drop(): void {
    const first = this.#ahead.shift();
    if (first !== undefined) this.#media.calls.memory.abandon(first.slot);
  }
  /** Gives up what was fetched ahead. */
  dropAhead(): void {
    while (this.#ahead.length > 0) this.#drop();
  }

  close(): void {
    this.dropAhead();
    if (this.#media.reading === this) this.#media.reading = undefined;
  }
}

function idBytes(id: string): Buffer {
  if (!/^[0-9a-f]{32}$/.test(id))
    throw new PenstockError('INTERNAL', `not the id of a chunk: ${id}`);
  return Buffer.from(id, 'hex');
}
