/**
 * An unbound module (P7, P10): the thread that acts for a program that attaches itself as head or tail. What
 * the program sends fills buffers, what reaches the stage goes to the program: a stream of bytes,
 * without words and kinds of buffers.
 *
 *   waiting ──▶ attached ──▶ the program's last data, or its word that it has taken all ──▶ ended
 *      │            └──────▶ its connection ended without it, or it says that it failed: the pipe fails
 *      └──────▶ nobody came within the time that the options name: the pipe fails
 *
 * Contract: one copy each way. While there is no free buffer nothing is read, while the program does not
 * read nothing is received, so either is held up. A buffer that is not full leaves when nothing more comes
 * for a moment. Each instance serves one program, once. Counters: 0 buffers, 1 bytes.
 */
import { Socket } from 'node:net';
import { must } from '../../base/assert.ts';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../../pipe/mod.ts';
import {
  PROGRAM_FRAME,
  PROGRAM_FRAME_BYTES,
  ProgramFrameReader,
  shortProgramFrame,
  writeProgramFrame,
} from './program-frame.ts';

export interface UnboundOptions {
  /** How long a program is waited for. */
  readonly waitMs: number;
}

/** What the thread is told when the program's process is gone, or has left: nothing more is on its way. */
export interface ProgramGone {
  readonly type: 'gone';
  readonly instance: number;
}

/** What the thread is told when a program has come; the descriptor is its own from then on. */
export interface ProgramArrival {
  readonly type: 'program';
  readonly instance: number;
  readonly descriptor: number;
  /** As it says itself. */
  readonly processId: number;
}

class Unbound {
  readonly #context: ModuleContext;
  readonly #waitMs: number;
  readonly #isHead: boolean;
  readonly #arrived: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #reader: ProgramFrameReader;
  readonly #readMemory: Buffer;
  /** Where what was read last lies: there, or, of a program that is gone, all that it had sent. */
  #memory: Buffer;
  /** Pieces of that, while they are read. */
  #rest: Buffer[] | undefined;
  #isGone = false;
  #socket: Socket | undefined;
  #processId = 0;
  /** Bytes of what was read last that found no room yet. */
  #from = 0;
  #to = 0;
  #starved = false;
  #buffer: PipeBuffer | undefined;
  #waiting: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  /** A tail has sent all. */
  #sent = false;
  #over = false;

  constructor(context: ModuleContext, { waitMs }: UnboundOptions) {
    this.#context = context;
    this.#waitMs = waitMs;
    const { config, topology } = context.segment;
    const number = config.stages.findIndex(({ name }) => name === context.stage);
    const role = must(topology.roles[number], 'a stage has a role');
    if (role === 'middle' || role === 'whole') {
      throw new PenstockError(
        'PIPE_CONFIG',
        `stage ${context.stage} is neither head nor tail: no program can be attached to it`,
      );
    }
    this.#isHead = role === 'head';
    this.#readMemory = Buffer.allocUnsafeSlow(
      this.#isHead ? LIMITS.programReadBytes : PROGRAM_FRAME_BYTES + LIMITS.programTextBytesMax,
    );
    this.#memory = this.#readMemory;
    this.#reader = new ProgramFrameReader({
      data: (memory, from, to) => this.#data(memory, from, to),
      end: () => this.#ended(),
      taken: () => this.#fail('sent what only this side says'),
      failure: (text) => this.#fail(`failed${text === '' ? '' : `: ${text}`}`),
    });
    this.#done.promise.catch(() => {});
  }

  async run(): Promise<void> {
    await this.#wait();
    try {
      if (!this.#isHead) this.#send().catch((thrown) => this.#done.reject(thrown));
      await this.#done.promise;
      // What a head sends last must have left before it ends.
      if (this.#buffer !== undefined) this.#handOn(this.#buffer);
    } finally {
      this.close();
    }
  }

  control(message: unknown): true | undefined {
    const { type, instance } = message as Partial<ProgramArrival | ProgramGone>;
    if (instance !== this.#context.instance) return undefined;
    if (type === 'gone') {
      this.#isGone = true;
      if (this.#starved) this.#readRest();
      return true;
    }
    if (type !== 'program') return undefined;
    const { descriptor, processId } = message as Partial<ProgramArrival>;
    if (this.#socket !== undefined || this.#over || descriptor === undefined) return undefined;
    this.#processId = processId ?? 0;
    this.#socket = new Socket({
      fd: descriptor,
      readable: true,
      writable: true,
      onread: { buffer: this.#readMemory, callback: (bytes) => this.#read(bytes) },
    });
    this.#socket.on('error', () => {});
    this.#socket.once('end', () => this.#closed());
    this.#socket.once('close', () => this.#closed());
    this.#socket.write(shortProgramFrame(PROGRAM_FRAME.taken));
    this.#socket.resume();
    this.#arrived.resolve();
    return true;
  }

  close(): void {
    this.#over = true;
    clearTimeout(this.#waiting);
    clearTimeout(this.#idle);
    this.#socket?.destroy();
  }

  async #wait(): Promise<void> {
    this.#waiting = setTimeout(() => {
      const { stage, pipe } = this.#context;
      const role = this.#isHead ? 'head' : 'tail';
      this.#arrived.reject(
        new PenstockError(
          'PROGRAM_MISSING',
          `no program was attached to ${stage} within ${Math.ceil(this.#waitMs / 1000)} s`,
          {
            hint: `run \`penstock attach ${pipe} --as ${role}\` in time, or allow more with --wait`,
          },
        ),
      );
    }, this.#waitMs);
    await this.#arrived.promise;
    clearTimeout(this.#waiting);
  }

  #fail(what: string): void {
    const role = this.#isHead ? 'head' : 'tail';
    this.#done.reject(
      new PenstockError(
        'PROGRAM_LOST',
        `the program ${this.#processId} that was attached as ${role} (${this.#context.stage}) ${what}`,
      ),
    );
  }

  /** The connection has ended. That of a program which is gone may still have brought the end of its data. */
  #closed(): void {
    const rest = this.#rest;
    if (rest === undefined) {
      // What was read before is still to find room.
      if (this.#memory === this.#readMemory) this.#fail(LOST);
      return;
    }
    this.#rest = undefined;
    this.#memory = Buffer.concat(rest);
    this.#from = 0;
    this.#to = this.#memory.length;
    if (!this.#reader.endsIn(this.#memory)) this.#fail(LOST);
    else if (!this.#starved) this.#parse();
  }

  /** Nobody waits for room to learn that a program is gone: what it has sent is little, and read at once. */
  #readRest(): void {
    if (this.#rest !== undefined || this.#memory !== this.#readMemory) return;
    this.#rest = [Buffer.from(this.#readMemory.subarray(this.#from, this.#to))];
    this.#from = this.#to;
    this.#socket?.resume();
  }

  /** False: nothing more is read until the rest of this has found room. */
  #read(bytes: number): boolean {
    if (this.#rest !== undefined) {
      this.#rest.push(Buffer.from(this.#readMemory.subarray(0, bytes)));
      const held = this.#rest.reduce((sum, { length }) => sum + length, 0);
      // More than a connection holds: then it is not gone.
      if (held > LIMITS.programRestBytesMax) this.#fail(LOST);
      return held <= LIMITS.programRestBytesMax;
    }
    this.#from = 0;
    this.#to = bytes;
    return this.#parse() || this.#rest !== undefined;
  }

  #parse(): boolean {
    if (this.#over) return false;
    try {
      this.#from = this.#reader.parse(this.#memory, this.#from, this.#to);
    } catch (thrown) {
      if (thrown instanceof PenstockError) this.#fail(thrown.message);
      else this.#done.reject(thrown);
      return false;
    }
    if (this.#from === this.#to) return true;
    if (!this.#starved) {
      this.#starved = true;
      this.#room().catch((thrown) => this.#done.reject(thrown));
      if (this.#isGone) this.#readRest();
    }
    return false;
  }

  /** Waits for a buffer, then goes on where `parse` stopped. */
  async #room(): Promise<void> {
    this.#buffer = await this.#context.allocBufLater();
    this.#starved = false;
    // All that there is, is still being read.
    if (this.#rest !== undefined) return;
    if (this.#parse()) this.#socket?.resume();
  }

  #data(memory: Buffer, from: number, to: number): number {
    if (!this.#isHead) throw new PenstockError('PROGRAM_LOST', 'sent data, as a tail');
    let at = from;
    while (at < to) {
      this.#buffer ??= this.#context.tryAllocBuf() ?? undefined;
      const buffer = this.#buffer;
      if (buffer === undefined) break;
      const room = Math.min(buffer.payloadCapacity - buffer.length, to - at);
      memory.copy(buffer.memory, buffer.payloadOffset + buffer.length, at, at + room);
      buffer.length += room;
      at += room;
      if (buffer.length === buffer.payloadCapacity) this.#handOn(buffer);
    }
    this.#flushLater();
    return at - from;
  }

  #flushLater(): void {
    if (this.#buffer === undefined) return;
    if (this.#idle !== undefined) {
      this.#idle.refresh();
      return;
    }
    this.#idle = setTimeout(() => {
      try {
        if (this.#buffer !== undefined) this.#handOn(this.#buffer);
      } catch (thrown) {
        // The pipe stops.
        this.#done.reject(thrown);
      }
    }, LIMITS.programIdleMs);
  }

  #handOn(buffer: PipeBuffer): void {
    this.#buffer = undefined;
    this.#context.progress(0, 1);
    this.#context.progress(1, buffer.length);
    this.#context.sendBuf(buffer);
  }

  /** The program says: a head that this was all, a tail that it has taken all. */
  #ended(): void {
    if (this.#isHead || this.#sent) this.#done.resolve();
    else this.#fail('ended before it had all data');
  }

  /** Sends what reaches a tail; the buffer is this module's until the bytes have gone. */
  async #send(): Promise<void> {
    const socket = must(this.#socket, 'a program is there');
    const header = Buffer.alloc(PROGRAM_FRAME_BYTES);
    for (;;) {
      const buffer = await this.#context.receiveBufLater();
      if (buffer === null) break;
      const { length } = buffer;
      if (length > 0) {
        socket.cork();
        socket.write(writeProgramFrame(header, PROGRAM_FRAME.data, length));
        const written = write(socket, buffer.payload().subarray(0, length));
        socket.uncork();
        await written;
      }
      this.#context.freeBuf(buffer);
      this.#context.progress(0, 1);
      this.#context.progress(1, length);
    }
    this.#sent = true;
    await write(socket, shortProgramFrame(PROGRAM_FRAME.end));
  }
}

const LOST = 'ended before the end of its data';

/** Resolves when the bytes are with the operating system; never, where the connection ends. */
function write(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    socket.write(bytes, (error) => {
      if (error === null || error === undefined) resolve();
    });
  });
}

export default function unbound(options: UnboundOptions): PipeModule {
  let running: Unbound | undefined;
  return {
    open: (context) => {
      running = new Unbound(context, options);
    },
    runAsync: () => must(running, 'it is open').run(),
    control: (message) => running?.control(message),
    abort: () => running?.close(),
  };
}
