/**
 * The memory over which threads of this process ask another one, which has an event loop, to move parts
 * of chunks: the net thread of a remote repository, the thread of a drive. Below: the *server*.
 *
 *   header   16 words: doorbell, freed, beat, ended, slots, slot bytes, writes under way, writes at
 *            most, bytes of a part at most, the turn of the last call
 *   sinks    SINKS of 1 KiB: one for each chunk that is being written
 *   slots    a head of 128 bytes each: state, call, position, length, result, sink, turn, chunk, session,
 *            piece
 *   data     pieces of memory, one for each slot, used again and again, and spare ones of the server's
 *
 * A slot's state says whose it is:
 *
 *   free ──acquire──▶ owned ──submit──▶ submitted ──▶ taken ──▶ done (owned again)
 *    ▲                  │                   │           │
 *    └──────────────────┴── abandon ────────┘           └─ abandon ─▶ abandoned ──▶ free
 *
 * `taken` and what follows it is the server's to change, but for the step to `abandoned`. A
 * write goes from `taken` to `free`; what became of it stands in its sink. What a write brought the server
 * may keep without copying it: it gives the slot a spare piece for the one that it has. This file alone
 * knows the offsets.
 */
import { assert } from '../base/assert.ts';

const HEADER = {
  doorbell: 0,
  freed: 1,
  beat: 2,
  ended: 3,
  slots: 4,
  slotBytes: 5,
  writes: 6,
  writesMax: 7,
  partBytesMax: 8,
  turn: 9,
} as const;
const HEADER_WORDS = 16;

const SINKS = 512;
const SINK = { used: 0, pending: 1, failed: 2, errorBytes: 3, durable: 4 } as const;
const SINK_WORDS = 256;
const SINK_ERROR_AT = 32;

const SLOT = {
  state: 0,
  call: 1,
  positionLow: 2,
  positionHigh: 3,
  length: 4,
  result: 5,
  sink: 6,
  turn: 7,
  chunk: 8,
  session: 12,
  piece: 16,
} as const;
const SLOT_WORDS = 32;

export const STATE = { free: 0, owned: 1, submitted: 2, taken: 3, done: 4, abandoned: 5 } as const;
export const CALL = { write: 1, commit: 2, discard: 3, open: 4, read: 5, order: 6 } as const;
/** The result of a call that failed; the error's record stands in the slot's data. */
export const FAILED = -1;

const TWO_32 = 2 ** 32;
/** Where pieces begin: the memory's are used as such by drives. */
const DATA_ALIGNMENT = 4096;

export class CallMemory {
  readonly shared: SharedArrayBuffer;
  readonly words: Int32Array;
  readonly bytes: Buffer;
  readonly slots: number;
  readonly slotBytes: number;
  /** Where the first piece begins. */
  readonly #dataAt: number;

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared;
    this.words = new Int32Array(shared);
    this.bytes = Buffer.from(shared);
    this.slots = this.words[HEADER.slots] ?? 0;
    this.slotBytes = this.words[HEADER.slotBytes] ?? 0;
    this.#dataAt = dataAtOf(this.slots);
  }

  /** @param spares pieces of memory besides those of the slots; nothing is used of what is not touched */
  static make(slots: number, slotBytes: number, spares = 0): CallMemory {
    const shared = new SharedArrayBuffer(dataAtOf(slots) + (slots + spares) * slotBytes);
    const words = new Int32Array(shared);
    words[HEADER.slots] = slots;
    words[HEADER.slotBytes] = slotBytes;
    words[HEADER.writesMax] = 1;
    words[HEADER.partBytesMax] = slotBytes;
    const memory = new CallMemory(shared);
    for (let slot = 0; slot < slots; slot++) words[memory.#head(slot) + SLOT.piece] = slot;
    return memory;
  }

  /** Header ------------------------------------------------------------------------------------- */

  get doorbell(): number {
    return Atomics.load(this.words, HEADER.doorbell);
  }
  ring(): void {
    Atomics.add(this.words, HEADER.doorbell, 1);
    Atomics.notify(this.words, HEADER.doorbell);
  }
  /** Resolves once the doorbell has moved on from `seen`; undefined where it has already. */
  ringing(seen: number): Promise<unknown> | undefined {
    const waiting = Atomics.waitAsync(this.words, HEADER.doorbell, seen);
    return waiting.async ? waiting.value : undefined;
  }
  get freed(): number {
    return Atomics.load(this.words, HEADER.freed);
  }
  /** These wait until something has changed; false: nothing has, for so long. */
  waitFreed(seen: number, timeoutMs: number): boolean {
    return Atomics.wait(this.words, HEADER.freed, seen, timeoutMs) !== 'timed-out';
  }
  #tellFreed(): void {
    Atomics.add(this.words, HEADER.freed, 1);
    Atomics.notify(this.words, HEADER.freed);
  }
  get beat(): number {
    return Atomics.load(this.words, HEADER.beat);
  }
  addBeat(): void {
    Atomics.add(this.words, HEADER.beat, 1);
  }
  get isEnded(): boolean {
    return Atomics.load(this.words, HEADER.ended) !== 0;
  }
  /** The server is gone: whoever waits looks again. */
  end(): void {
    Atomics.store(this.words, HEADER.ended, 1);
    this.#tellFreed();
    for (let slot = 0; slot < this.slots; slot++) Atomics.notify(this.words, this.#head(slot));
    for (let sink = 0; sink < SINKS; sink++)
      Atomics.notify(this.words, this.#sink(sink) + SINK.pending);
  }
  get mayWrite(): boolean {
    const words = this.words;
    return Atomics.load(words, HEADER.writes) < Atomics.load(words, HEADER.writesMax);
  }
  setWritesMax(count: number): void {
    Atomics.store(this.words, HEADER.writesMax, count);
    this.#tellFreed();
  }
  get partBytesMax(): number {
    return Atomics.load(this.words, HEADER.partBytesMax);
  }
  setPartBytesMax(bytes: number): void {
    Atomics.store(this.words, HEADER.partBytesMax, bytes);
  }

  /** Slots -------------------------------------------------------------------------------------- */

  #head(slot: number): number {
    return HEADER_WORDS + SINKS * SINK_WORDS + slot * SLOT_WORDS;
  }
  #word(slot: number, word: number): number {
    return this.words[this.#head(slot) + word] ?? 0;
  }
  /** Offset in `bytes` of a slot's data. */
  dataAt(slot: number): number {
    return this.#dataAt + this.#word(slot, SLOT.piece) * this.slotBytes;
  }
  /** For the server: the pieces that no slot has. */
  spares(): Buffer[] {
    const used = new Set(Array.from({ length: this.slots }, (_, i) => this.#word(i, SLOT.piece)));
    const count = Math.floor((this.bytes.length - this.#dataAt) / this.slotBytes);
    const spares: Buffer[] = [];
    for (let piece = 0; piece < count; piece++)
      if (!used.has(piece)) spares.push(this.#piece(piece));
    return spares;
  }
  /** For the server: the piece of a slot that it has taken, for a spare one, which is the slot's then. */
  exchange(slot: number, spare: Buffer): Buffer {
    const piece = (spare.byteOffset - this.bytes.byteOffset - this.#dataAt) / this.slotBytes;
    assert(spare.buffer === this.shared && Number.isInteger(piece), 'a piece of this memory');
    const old = this.#piece(this.#word(slot, SLOT.piece));
    this.words[this.#head(slot) + SLOT.piece] = piece;
    return old;
  }
  #piece(piece: number): Buffer {
    const at = this.#dataAt + piece * this.slotBytes;
    return this.bytes.subarray(at, at + this.slotBytes);
  }
  /** The lowest free slot, now owned; -1 when there is none. */
  acquire(): number {
    for (let slot = 0; slot < this.slots; slot++)
      if (this.#move(slot, STATE.free, STATE.owned)) return slot;
    return -1;
  }
  get freeSlots(): number {
    let count = 0;
    for (let slot = 0; slot < this.slots; slot++)
      if (Atomics.load(this.words, this.#head(slot)) === STATE.free) count++;
    return count;
  }
  state(slot: number): number {
    return Atomics.load(this.words, this.#head(slot));
  }
  #move(slot: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.words, this.#head(slot), from, to) === from;
  }
  waitState(slot: number, seen: number, timeoutMs: number): boolean {
    return Atomics.wait(this.words, this.#head(slot), seen, timeoutMs) !== 'timed-out';
  }
  free(slot: number): void {
    Atomics.store(this.words, this.#head(slot), STATE.free);
    this.#tellFreed();
  }
  /** Says what is to be done with an owned slot, and has it done. */
  submit(
    slot: number,
    call: number,
    sink: number,
    chunk: Buffer,
    session: Buffer,
    position: number,
    length: number,
  ): void {
    const { words } = this;
    const head = this.#head(slot);
    words[head + SLOT.call] = call;
    words[head + SLOT.positionLow] = position % TWO_32;
    words[head + SLOT.positionHigh] = Math.floor(position / TWO_32);
    words[head + SLOT.length] = length;
    words[head + SLOT.sink] = sink;
    words[head + SLOT.turn] = Atomics.add(words, HEADER.turn, 1);
    chunk.copy(this.bytes, (head + SLOT.chunk) * 4);
    session.copy(this.bytes, (head + SLOT.session) * 4);
    if (call === CALL.write) {
      Atomics.add(words, HEADER.writes, 1);
      Atomics.add(words, this.#sink(sink) + SINK.pending, 1);
    }
    Atomics.store(words, head, STATE.submitted);
    this.ring();
  }
  /** The result of a call that nobody wants any more. */
  abandon(slot: number): void {
    if (this.#move(slot, STATE.submitted, STATE.owned)) this.free(slot);
    else if (!this.#move(slot, STATE.taken, STATE.abandoned)) this.free(slot);
  }
  /** For the server: whether the slot has a call to be made; it is taken then. */
  take(slot: number): boolean {
    return this.#move(slot, STATE.submitted, STATE.taken);
  }
  /** For the server: the slots that have calls to be made, in the order of asking; they are taken then. */
  takeAll(): number[] {
    const taken: number[] = [];
    for (let slot = 0; slot < this.slots; slot++) if (this.take(slot)) taken.push(slot);
    // The number begins again at its end: what counts is the difference.
    return taken.sort((a, b) => (this.#word(a, SLOT.turn) - this.#word(b, SLOT.turn)) | 0);
  }
  call(slot: number): number {
    return this.#word(slot, SLOT.call);
  }
  position(slot: number): number {
    const low = this.#word(slot, SLOT.positionLow) >>> 0;
    return this.#word(slot, SLOT.positionHigh) * TWO_32 + low;
  }
  length(slot: number): number {
    return this.#word(slot, SLOT.length);
  }
  chunk(slot: number): string {
    return this.#hex((this.#head(slot) + SLOT.chunk) * 4);
  }
  session(slot: number): string {
    return this.#hex((this.#head(slot) + SLOT.session) * 4);
  }
  #hex(at: number): string {
    return this.bytes.toString('hex', at, at + 16);
  }
  result(slot: number): number {
    const low = this.#word(slot, SLOT.positionLow) >>> 0;
    return this.#word(slot, SLOT.result) === FAILED
      ? FAILED
      : this.#word(slot, SLOT.positionHigh) * TWO_32 + low;
  }
  /** For the server: a call is over, with a number or an error's record. */
  finish(slot: number, result: number | string): void {
    const { words } = this;
    const head = this.#head(slot);
    if (typeof result === 'number') {
      words[head + SLOT.result] = 0;
      words[head + SLOT.positionLow] = result % TWO_32;
      words[head + SLOT.positionHigh] = Math.floor(result / TWO_32);
    } else {
      words[head + SLOT.result] = FAILED;
      const at = this.dataAt(slot);
      words[head + SLOT.length] = this.bytes.write(result, at, this.slotBytes);
    }
    if (this.#move(slot, STATE.taken, STATE.done)) Atomics.notify(words, head);
    else this.free(slot);
  }
  error(slot: number): string {
    const at = this.dataAt(slot);
    return this.bytes.toString('utf8', at, at + this.length(slot));
  }
  /** For the server: a write is over. */
  finishWrite(slot: number, error: string | undefined): void {
    const { words } = this;
    const sink = this.#sink(this.#word(slot, SLOT.sink));
    if (error !== undefined && words[sink + SINK.failed] === 0) {
      const at = sink * 4 + SINK_ERROR_AT;
      words[sink + SINK.errorBytes] = this.bytes.write(error, at, SINK_WORDS * 4 - SINK_ERROR_AT);
      Atomics.store(words, sink + SINK.failed, 1);
    }
    Atomics.sub(words, HEADER.writes, 1);
    Atomics.sub(words, sink + SINK.pending, 1);
    Atomics.notify(words, sink + SINK.pending);
    this.free(slot);
  }

  /** Sinks -------------------------------------------------------------------------------------- */

  #sink(sink: number): number {
    return HEADER_WORDS + sink * SINK_WORDS;
  }
  /** A sink for a new chunk; -1 when there is none left. */
  acquireSink(): number {
    for (let sink = 0; sink < SINKS; sink++) {
      const at = this.#sink(sink);
      if (Atomics.compareExchange(this.words, at + SINK.used, 0, 1) !== 0) continue;
      this.words[at + SINK.failed] = 0;
      Atomics.store(this.words, at + SINK.durable, 0);
      return sink;
    }
    return -1;
  }
  freeSink(sink: number): void {
    Atomics.store(this.words, this.#sink(sink) + SINK.used, 0);
  }
  pending(sink: number): number {
    return Atomics.load(this.words, this.#sink(sink) + SINK.pending);
  }
  waitPending(sink: number, seen: number, timeoutMs: number): boolean {
    return (
      Atomics.wait(this.words, this.#sink(sink) + SINK.pending, seen, timeoutMs) !== 'timed-out'
    );
  }
  /** Whether the server has told that a sink's chunk is durable. */
  isDurable(sink: number): boolean {
    return Atomics.load(this.words, this.#sink(sink) + SINK.durable) !== 0;
  }
  setDurable(sink: number): void {
    Atomics.store(this.words, this.#sink(sink) + SINK.durable, 1);
  }
  /** For the server: the sink of a slot's call. */
  sink(slot: number): number {
    return this.#word(slot, SLOT.sink);
  }
  /** The record of the first error of a sink's writes. */
  sinkError(sink: number): string | undefined {
    const at = this.#sink(sink);
    if (Atomics.load(this.words, at + SINK.failed) === 0) return undefined;
    const text = at * 4 + SINK_ERROR_AT;
    return this.bytes.toString('utf8', text, text + (this.words[at + SINK.errorBytes] ?? 0));
  }
}

/** Behind the heads of all slots. */
function dataAtOf(slots: number): number {
  const heads = (HEADER_WORDS + SINKS * SINK_WORDS + slots * SLOT_WORDS) * 4;
  return Math.ceil(heads / DATA_ALIGNMENT) * DATA_ALIGNMENT;
}
