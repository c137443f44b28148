/**
 * Takes sealed frames out of the bytes of a connection and lays what they carry into the buffers of a pipe.
 *
 * Contract: bytes are decrypted from what the connection gave to where they belong, with no copy besides. A header
 * is opened and validated as a whole before its lengths are used (frame.ts), and a body is told of when its
 * tag was right; what is not valid, or was altered, is thrown as NET_PROTOCOL.
 */
import { PenstockError } from '../../base/errors.ts';
import type { PipeBuffer } from '../../pipe/mod.ts';
import { FRAME_BYTES, type Frame, type FrameBounds, newFrame, readFrame } from './frame.ts';
import { type LinkOpener, TAG_BYTES } from './link-cipher.ts';

/** A header as it comes. */
const HEAD_BYTES = FRAME_BYTES + TAG_BYTES;

export interface FrameSink {
  /** A header has come: where its bytes go, null to throw them away; a promise: not known yet. */
  begin(frame: Frame): PipeBuffer | null | Promise<PipeBuffer | null>;
  /** All bytes of the frame have come, as they were sent. */
  end(frame: Frame, target: PipeBuffer | null): void;
}

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #bounds: FrameBounds;
  readonly #opener: LinkOpener;
  readonly #head: Buffer = Buffer.alloc(HEAD_BYTES);
  readonly #header: Buffer = this.#head.subarray(0, FRAME_BYTES);
  readonly #headTag: Buffer = this.#head.subarray(FRAME_BYTES);
  readonly #tag: Buffer = Buffer.alloc(TAG_BYTES);
  readonly #frame: Frame = newFrame();
  #headHas = 0;
  #tagHas = 0;
  #target: PipeBuffer | null = null;
  /** Bytes of the frame's body that have come, of so many. */
  #has = 0;
  #wants = 0;
  #stopped = false;

  constructor(sink: FrameSink, bounds: FrameBounds, opener: LinkOpener) {
    this.#sink = sink;
    this.#bounds = bounds;
    this.#opener = opener;
  }

  /** Nothing is laid into a buffer any more. */
  stop(): void {
    this.#stopped = true;
  }

  /** Takes some bytes, which are not needed afterwards. A promise must have resolved before the next are given. */
  push(bytes: Buffer): Promise<void> | undefined {
    return this.#consume(bytes, 0);
  }

  #consume(bytes: Buffer, from: number): Promise<void> | undefined {
    let at = from;
    while (at < bytes.length && !this.#stopped) {
      if (this.#headHas === HEAD_BYTES) {
        at += this.#has < this.#wants ? this.#takeBody(bytes, at) : this.#takeTag(bytes, at);
        continue;
      }
      const taken = Math.min(HEAD_BYTES - this.#headHas, bytes.length - at);
      bytes.copy(this.#head, this.#headHas, at, at + taken);
      this.#headHas += taken;
      at += taken;
      if (this.#headHas < HEAD_BYTES) break;
      const target = this.#beginFrame();
      if (target instanceof Promise) {
        const rest = Buffer.from(bytes.subarray(at));
        return target.then((found) => {
          this.#beginBody(found);
          return this.#consume(rest, 0);
        });
      }
      this.#beginBody(target);
    }
    return undefined;
  }

  #beginFrame(): PipeBuffer | null | Promise<PipeBuffer | null> {
    const frame = this.#frame;
    this.#opener.begin();
    this.#opener.update(this.#header, 0, FRAME_BYTES, this.#header, 0);
    if (!this.#opener.end(this.#headTag)) refuseAltered();
    readFrame(this.#header, frame, this.#bounds);
    this.#has = 0;
    this.#tagHas = 0;
    this.#wants = frame.headerBytes + frame.payloadBytes + frame.directoryBytes;
    return this.#sink.begin(frame);
  }

  #beginBody(target: PipeBuffer | null): void {
    if (this.#stopped) return;
    this.#target = target;
    if (this.#wants === 0) this.#end();
    else if (target === null) this.#opener.skip(this.#wants);
    else this.#opener.begin();
  }

  #end(): void {
    this.#headHas = 0;
    if (!this.#stopped) this.#sink.end(this.#frame, this.#target);
    this.#target = null;
  }

  /** Decrypts what belongs to the body: header room and payload lie behind one another, the directory apart. */
  #takeBody(bytes: Buffer, at: number): number {
    const { headerBytes, payloadBytes } = this.#frame;
    const inFront = headerBytes + payloadBytes;
    const isDirectory = this.#has >= inFront;
    const part = (isDirectory ? this.#wants : inFront) - this.#has;
    const taken = Math.min(part, bytes.length - at);
    const target = this.#target;
    if (target !== null) {
      const place = isDirectory
        ? target.directoryOffset + this.#has - inFront
        : target.payloadOffset - headerBytes + this.#has;
      this.#opener.update(bytes, at, taken, target.memory, place);
    }
    this.#has += taken;
    return taken;
  }

  #takeTag(bytes: Buffer, at: number): number {
    const taken = Math.min(TAG_BYTES - this.#tagHas, bytes.length - at);
    bytes.copy(this.#tag, this.#tagHas, at, at + taken);
    this.#tagHas += taken;
    if (this.#tagHas === TAG_BYTES) {
      if (this.#target !== null && !this.#opener.end(this.#tag)) refuseAltered();
      this.#end();
    }
    return taken;
  }
}

function refuseAltered(): never {
  throw new PenstockError('NET_PROTOCOL', 'what came is not what the other side has sent');
}
