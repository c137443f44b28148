/**
 * One data connection of an agent, once both sides know each other: sealed frames out, sealed frames in.
 *
 * Contract: `closed` is told exactly once, whatever ends the connection. What its events throw goes to
 * `defect` and never out of the event loop. While a frame waits for a buffer nothing is read, so the other
 * side is held up by TCP; a connection that is read and stays silent too long is ended (`look`).
 */
import type { Socket } from 'node:net';
import { assert } from '../../base/assert.ts';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { PipeBuffer } from '../../pipe/mod.ts';
import { FRAME_BYTES, type Frame, type FrameBounds, writeFrame } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { closeLinkCipher, type LinkCipher, TAG_BYTES } from './link-cipher.ts';
import { readInPlace } from './read-in-place.ts';

export interface LinkEvents {
  begin(link: Link, frame: Frame): PipeBuffer | null | Promise<PipeBuffer | null>;
  end(link: Link, frame: Frame, target: PipeBuffer | null): void;
  /** `clean`: the other side has said that it ends. */
  closed(link: Link, clean: boolean): void;
  /** Something was thrown that is no fault of the connection. */
  defect(thrown: unknown): void;
}

const HEAD_BYTES = FRAME_BYTES + TAG_BYTES;

export class Link {
  readonly #socket: Socket;
  readonly #cipher: LinkCipher;
  readonly #events: LinkEvents;
  readonly #reader: FrameReader;
  #open = true;
  #clean = false;
  /** A frame waits for its buffer; what has come behind it. */
  #blocked = false;
  #held: Buffer[] = [];
  #heardMs: number = performance.now();
  #spokeMs = 0;
  /** Sealed bytes that leave together: a frame's header, a piece of its body, a tag. */
  #out: Buffer | undefined;
  #outHas = 0;
  /** Bytes of a frame's body that `write` was not given yet. */
  #missing = 0;
  /** The bytes of a frame are being written: nothing else may be said between them. */
  #isWriting = false;
  /** Why it was ended, where this side did it. */
  reason: string | undefined;

  constructor(socket: Socket, cipher: LinkCipher, bounds: FrameBounds, events: LinkEvents) {
    this.#socket = socket;
    this.#cipher = cipher;
    this.#events = events;
    this.#reader = new FrameReader(
      {
        begin: (frame) => events.begin(this, frame),
        end: (frame, target) => events.end(this, frame, target),
      },
      bounds,
      cipher.opener,
    );
    socket.once('end', () => {
      this.#clean = true;
    });
    socket.on('error', () => {});
    socket.once('close', () => this.#closed());
    if (socket.destroyed) queueMicrotask(() => this.#closed());
  }

  get open(): boolean {
    return this.#open;
  }

  /** Takes what has come behind the set-up, and what comes from now on. */
  begin(rest: Buffer): void {
    const socket = this.#socket;
    socket.pause();
    this.#take(rest);
    for (let more = socket.read(); more !== null; more = socket.read()) this.#take(more);
    const take = (bytes: Buffer): void => this.#take(bytes);
    if (!readInPlace(socket, take)) socket.on('data', take);
    if (!this.#blocked) socket.resume();
  }

  /** The bytes are there until it returns. */
  #take(bytes: Buffer): void {
    this.#heardMs = performance.now();
    if (this.#blocked) this.#held.push(Buffer.from(bytes));
    else this.#push(bytes);
  }

  #push(bytes: Buffer): void {
    if (!this.#open) return;
    try {
      const pending = this.#reader.push(bytes);
      if (pending === undefined) return;
      this.#blocked = true;
      this.#socket.pause();
      pending.then(
        () => this.#unblock(),
        (thrown) => this.#fail(thrown),
      );
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #unblock(): void {
    this.#blocked = false;
    this.#heardMs = performance.now();
    while (!this.#blocked) {
      const bytes = this.#held.shift();
      if (bytes === undefined) break;
      this.#push(bytes);
    }
    if (!this.#blocked && this.#open) this.#socket.resume();
  }

  #fail(thrown: unknown): void {
    const bad = thrown instanceof PenstockError && thrown.code === 'NET_PROTOCOL';
    if (bad) this.destroy(thrown.message);
    else this.#events.defect(thrown);
  }

  /**
   * Begins a frame; if the connection is broken, nothing happens. What lies behind its header is then given to
   * `write`, all of it.
   */
  start(frame: Frame): void {
    const bodyBytes = frame.headerBytes + frame.payloadBytes + frame.directoryBytes;
    if (bodyBytes === 0) {
      this.tell(frame);
      return;
    }
    if (!this.#open) return;
    assert(!this.#isWriting, 'frames do not mix');
    this.#isWriting = true;
    this.#missing = bodyBytes;
    this.#out ??= Buffer.allocUnsafeSlow(HEAD_BYTES + LIMITS.linkWriteBytes + TAG_BYTES);
    this.#seal(frame, this.#out);
    this.#outHas = HEAD_BYTES;
    this.#cipher.sealer.begin();
  }

  /**
   * Hands bytes of a frame to the connection, at most LIMITS.linkWriteBytes; resolves once the next may come,
   * rejects if it breaks before.
   */
  async write(memory: Uint8Array, from: number, length: number): Promise<void> {
    const out = this.#out;
    if (!this.#open || out === undefined) throw new Error('the connection is broken');
    const { sealer } = this.#cipher;
    sealer.update(memory, from, length, out, this.#outHas);
    this.#outHas += length;
    this.#missing -= length;
    if (this.#missing === 0) {
      sealer.end(out, this.#outHas);
      this.#outHas += TAG_BYTES;
    }
    const bytes = out.subarray(0, this.#outHas);
    this.#outHas = 0;
    this.#spokeMs = performance.now();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#socket.write(bytes, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(error);
        });
      });
    } finally {
      if (this.#missing === 0) this.#isWriting = false;
    }
  }

  /** Sends a frame without a body; if the connection is broken, nothing happens. */
  tell(frame: Frame): void {
    if (!this.#open) return;
    assert(!this.#isWriting, 'frames do not mix');
    this.#spokeMs = performance.now();
    const bytes = Buffer.allocUnsafe(HEAD_BYTES);
    this.#seal(frame, bytes);
    this.#socket.write(bytes);
  }

  /** Puts the sealed header at the beginning of `into`. */
  #seal(frame: Frame, into: Buffer): void {
    const { sealer } = this.#cipher;
    writeFrame(into, 0, frame);
    sealer.begin();
    sealer.update(into, 0, FRAME_BYTES, into, 0);
    sealer.end(into, FRAME_BYTES);
  }

  /** Ends it if it is silent; returns whether it is time to send a beat. */
  look(nowMs: number): boolean {
    if (!this.#blocked && nowMs - this.#heardMs > LIMITS.linkSilenceMs) {
      this.destroy('it was silent');
      return false;
    }
    // Bytes that are on their way are sign enough.
    return this.#open && !this.#isWriting && nowMs - this.#spokeMs >= LIMITS.linkBeatMs;
  }

  /** Ends it in order: the other side sees that it was meant. */
  finish(): void {
    this.#socket.end();
    this.#socket.resume();
  }

  destroy(reason: string): void {
    this.reason ??= reason;
    this.#reader.stop();
    this.#socket.destroy();
    this.#closed();
  }

  #closed(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#held = [];
    this.#reader.stop();
    closeLinkCipher(this.#cipher);
    try {
      this.#events.closed(this, this.#clean);
    } catch (thrown) {
      this.#events.defect(thrown);
    }
  }
}
