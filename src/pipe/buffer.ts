/**
 * A buffer as a module sees it: header room, payload, directory room, and a descriptor of 32 words.
 *
 * Contract: one PipeBuffer per buffer and thread, made at start; its views are made once, on first use.
 * Only the owner may touch it: between receiveBuf/allocBuf and sendBuf/freeBuf. What is not copied in
 * the segment is not here: the object holds offsets alone.
 */
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { BUFFER_FLAG, DESCRIPTOR, descriptorAt, USER_WORDS } from './layout.ts';
import type { Segment } from './segment.ts';

export class PipeBuffer {
  readonly index: number;
  /** The whole segment; the offsets below are into it. */
  readonly memory: Buffer;
  readonly headerOffset: number;
  readonly headerRoom: number;
  readonly payloadOffset: number;
  readonly payloadCapacity: number;
  readonly directoryOffset: number;
  readonly directoryCapacity: number;
  readonly #words: Int32Array;
  readonly #at: number;
  #payload: Buffer | undefined;
  #header: Buffer | undefined;
  #directory: Buffer | undefined;

  constructor(segment: Segment, index: number) {
    const { layout } = segment;
    this.index = index;
    this.memory = segment.bytes;
    this.headerOffset = layout.buffers + index * layout.bufferStrideBytes;
    this.headerRoom = LIMITS.headerRoomBytes;
    this.payloadOffset = this.headerOffset + this.headerRoom;
    this.payloadCapacity = layout.payloadCapacityBytes;
    this.directoryOffset = this.payloadOffset + this.payloadCapacity;
    this.directoryCapacity = layout.directoryCapacityBytes;
    this.#words = segment.words;
    this.#at = descriptorAt(layout, index);
  }

  /** Bytes of the payload that are used. */
  get length(): number {
    return this.#words[this.#at + DESCRIPTOR.length] as number;
  }

  set length(bytes: number) {
    assert(bytes >= 0 && bytes <= this.payloadCapacity, 'a length is within the payload');
    this.#words[this.#at + DESCRIPTOR.length] = bytes;
  }

  /** What the buffer holds; the modules of a pipe agree on it. Unsigned, 32 bits. */
  get kind(): number {
    return (this.#words[this.#at + DESCRIPTOR.kind] as number) >>> 0;
  }

  set kind(value: number) {
    this.#words[this.#at + DESCRIPTOR.kind] = value;
  }

  /** Number that a sequencer stamped; 0 if none did. */
  get sequence(): number {
    const low = (this.#words[this.#at + DESCRIPTOR.sequenceLow] as number) >>> 0;
    return (this.#words[this.#at + DESCRIPTOR.sequenceHigh] as number) * 2 ** 32 + low;
  }

  set sequence(value: number) {
    this.#words[this.#at + DESCRIPTOR.sequenceLow] = value | 0;
    this.#words[this.#at + DESCRIPTOR.sequenceHigh] = Math.floor(value / 2 ** 32);
  }

  /** Whether the buffer bears a number that a resequencer waits for. */
  get numbered(): boolean {
    return ((this.#words[this.#at + DESCRIPTOR.flags] as number) & BUFFER_FLAG.numbered) !== 0;
  }

  /** One of 24 unsigned words that travel with the buffer. */
  word(i: number): number {
    assert(i >= 0 && i < USER_WORDS, 'a buffer has 24 user words');
    return (this.#words[this.#at + DESCRIPTOR.user + i] as number) >>> 0;
  }

  setWord(i: number, value: number): void {
    assert(i >= 0 && i < USER_WORDS, 'a buffer has 24 user words');
    this.#words[this.#at + DESCRIPTOR.user + i] = value;
  }

  /** The whole payload, whatever `length` is. */
  payload(): Buffer {
    this.#payload ??= this.#view(this.payloadOffset, this.payloadCapacity);
    return this.#payload;
  }

  header(): Buffer {
    this.#header ??= this.#view(this.headerOffset, this.headerRoom);
    return this.#header;
  }

  directory(): Buffer {
    this.#directory ??= this.#view(this.directoryOffset, this.directoryCapacity);
    return this.#directory;
  }

  #view(offset: number, bytes: number): Buffer {
    return this.memory.subarray(offset, offset + bytes);
  }
}
