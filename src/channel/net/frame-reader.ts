/**
 * Takes frames out of the bytes of a connection and lays what they carry into the buffers of a pipe.
 *
 * Contract: bytes are copied once, from what the connection gave to where they belong. A header is
 * validated as a whole before its lengths are used (frame.ts); what is not valid is thrown as NET_PROTOCOL.
 */
import type { PipeBuffer } from '../../pipe/mod.ts';
import { FRAME_BYTES, type Frame, type FrameBounds, newFrame, readFrame } from './frame.ts';

export interface FrameSink {
  /** A header has come: where its bytes go, null to throw them away; a promise: not known yet. */
  begin(frame: Frame): PipeBuffer | null | Promise<PipeBuffer | null>;
  /** All bytes of the frame have come. */
  end(frame: Frame, target: PipeBuffer | null): void;
}

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #bounds: FrameBounds;
  readonly #header: Buffer = Buffer.alloc(FRAME_BYTES);
  readonly #frame: Frame = newFrame();
  #headerHas = 0;
  #target: PipeBuffer | null = null;
  /** Bytes of the frame's body that have come, of so many. */
  #has = 0;
  #wants = 0;
  #stopped = false;

  constructor(sink: FrameSink, bounds: FrameBounds) {
    this.#sink = sink;
    this.#bounds = bounds;
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
      if (this.#headerHas === FRAME_BYTES) {
        at += this.#take(bytes, at);
        if (this.#has === this.#wants) this.#end();
        continue;
      }
      const taken = Math.min(FRAME_BYTES - this.#headerHas, bytes.length - at);
      bytes.copy(this.#header, this.#headerHas, at, at + taken);
      this.#headerHas += taken;
      at += taken;
      if (this.#headerHas < FRAME_BYTES) break;
      const target = this.#begin();
      if (target instanceof Promise) {
        const rest = Buffer.from(bytes.subarray(at));
        return target.then((found) => {
          this.#target = found;
          if (this.#wants === 0) this.#end();
          return this.#consume(rest, 0);
        });
      }
      this.#target = target;
      if (this.#wants === 0) this.#end();
    }
    return undefined;
  }

  #begin(): PipeBuffer | null | Promise<PipeBuffer | null> {
    const frame = this.#frame;
    readFrame(this.#header, frame, this.#bounds);
    this.#has = 0;
    this.#wants = frame.headerBytes + frame.payloadBytes + frame.directoryBytes;
    return this.#sink.begin(frame);
  }

  #end(): void {
    this.#headerHas = 0;
    if (!this.#stopped) this.#sink.end(this.#frame, this.#target);
    this.#target = null;
  }

  /** Copies what belongs to the body: header room and payload lie behind one another, the directory apart. */
  #take(bytes: Buffer, at: number): number {
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
      bytes.copy(target.memory, place, at, at + taken);
    }
    this.#has += taken;
    return taken;
  }
}
