/**
 * The program's side of an unbound module: streams into and out of a pipe that another process may run.
 *
 * Contract: `attachHead` gives a Writable: it has finished when the whole pipe has ended well, on all its
 * machines. `attachTail` gives a Readable: its data count as taken when its `end` has been told. Either is
 * destroyed with the pipe's first cause when the pipe stops; one that is destroyed, or whose process
 * ends, before its end stops the pipe. Both hold up who writes, and are held up by who reads.
 */
import type { Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import type { ByteString } from '../../base/bytes.ts';
import { PenstockError, toPenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { fromWireError } from '../wire-error.ts';
import { ATTACH_VERSION, type ProgramAttached, type ProgramIdent } from './attach-messages.ts';
import { connectLocal, LineChannel, socketPath } from './line-channel.ts';
import {
  PROGRAM_FRAME,
  PROGRAM_FRAME_BYTES,
  ProgramFrameReader,
  shortProgramFrame,
  writeProgramFrame,
} from './program-frame.ts';
import { attachPath } from './unbound-stage.ts';

export interface AttachOptions {
  /** The state folder with which the process that runs the pipe works. */
  readonly stateDirectory: ByteString;
  readonly pipe: string;
  /** Where the pipe has several unbound heads, or tails. */
  readonly stage?: string | undefined;
}

/** What is known of the pipe. */
export interface Attachment {
  readonly pipe: string;
  readonly stage: string;
  /** What kind of program began it, and on which machine. */
  readonly program: string;
  readonly machine: string;
}

/**
 * Attaches this program as a head of a pipe: what is written flows into it.
 *
 * @throws PIPE_UNKNOWN no such pipe takes programs here, ATTACH_REFUSED, PIPE_FAILED it has just ended
 */
export async function attachHead(options: AttachOptions): Promise<AttachedHead> {
  return new AttachedHead(await Program.attach('head', options));
}

/** Attaches this program as a tail of a pipe: what comes out of it can be read. Throws as `attachHead`. */
export async function attachTail(options: AttachOptions): Promise<AttachedTail> {
  return new AttachedTail(await Program.attach('tail', options));
}

/** Both connections of an attached program. */
class Program {
  readonly attachment: Attachment;
  readonly data: Socket;
  /** Settles when the whole pipe is over, as it ended. */
  readonly outcome: Promise<void>;

  private constructor(attachment: Attachment, data: Socket, outcome: Promise<void>) {
    this.attachment = attachment;
    this.data = data;
    this.outcome = outcome;
    outcome.catch(() => {});
  }

  static async attach(
    role: 'head' | 'tail',
    { stateDirectory, pipe, stage }: AttachOptions,
  ): Promise<Program> {
    const path = socketPath(attachPath(stateDirectory, pipe));
    const control = await connect(path, pipe);
    const ident: ProgramIdent = {
      type: 'ident',
      version: ATTACH_VERSION,
      pipe,
      role,
      processId: process.pid,
      ...(stage === undefined ? {} : { stage }),
    };
    control.send(ident);
    const answer = (await control.next()) as Partial<ProgramAttached> | undefined;
    if (answer?.type !== 'attached') {
      control.socket.destroy();
      const { error } = (answer ?? {}) as { error?: unknown };
      throw error === undefined ? ended(pipe) : fromWireError(error);
    }
    const outcome = outcomeOf(control, pipe);
    outcome.catch(() => {});
    const data = await connect(path, pipe).catch(() =>
      outcome.then(() => Promise.reject(ended(pipe))),
    );
    data.send({ type: 'data', token: answer.token });
    const socket = data.release();
    const { program = '', machine = '' } = answer;
    return new Program({ pipe, stage: answer.stage ?? '', program, machine }, socket, outcome);
  }
}

async function connect(path: string | undefined, pipe: string): Promise<LineChannel> {
  const socket = path === undefined ? undefined : await connectLocal(path);
  if (socket !== undefined) return new LineChannel(socket, LIMITS.programMessageBytesMax);
  throw new PenstockError('PIPE_UNKNOWN', `no pipe ${pipe} takes programs on this machine`, {
    subject: pipe,
    hint: 'run `penstock pipes`; a pipe that is queued takes them once it runs (--wait)',
  });
}

function ended(pipe: string): PenstockError {
  return new PenstockError('PIPE_FAILED', `the process that ran the pipe ${pipe} has ended`);
}

async function outcomeOf(control: LineChannel, pipe: string): Promise<void> {
  const last = (await control.next()) as { type?: unknown; error?: unknown } | undefined;
  control.socket.destroy();
  if (last?.type === 'over') return;
  throw last?.type === 'stopped' ? fromWireError(last.error) : ended(pipe);
}

export class AttachedHead extends Writable {
  readonly attachment: Attachment;
  readonly #program: Program;
  /** How many bytes were given to the pipe. */
  bytes = 0;
  readonly #taken: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(program: Program) {
    super({ highWaterMark: LIMITS.programReadBytes });
    this.attachment = program.attachment;
    this.#program = program;
    this.#taken.promise.catch(() => {});
    const reader = new ProgramFrameReader({
      data: () => 0,
      end: () => undefined,
      failure: () => undefined,
      taken: () => this.#taken.resolve(),
    });
    const { data, outcome } = program;
    data.on('error', () => {});
    data.on('data', (bytes: Buffer) => {
      try {
        reader.parse(bytes, 0, bytes.length);
      } catch (thrown) {
        this.destroy(toPenstockError(thrown));
      }
    });
    data.resume();
    // Its thread has ended: how the pipe ended says whether that was right.
    data.once('close', () => this.#taken.reject(ended(program.attachment.pipe)));
    outcome.catch((error) => this.destroy(toPenstockError(error)));
  }

  override _construct(done: (error?: Error | null) => void): void {
    this.#begin().then(() => done(), done);
  }

  async #begin(): Promise<void> {
    try {
      await this.#taken.promise;
    } catch (error) {
      await this.#program.outcome;
      throw error;
    }
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    const { data } = this.#program;
    const most = LIMITS.programFrameBytesMax;
    this.bytes += chunk.length;
    for (let at = 0; at < chunk.length; at += most) {
      const part = chunk.subarray(at, at + most);
      const header = Buffer.allocUnsafe(PROGRAM_FRAME_BYTES);
      data.cork();
      data.write(writeProgramFrame(header, PROGRAM_FRAME.data, part.length));
      const isLast = at + most >= chunk.length;
      data.write(part, isLast ? (error) => this.#written(error, done) : undefined);
      data.uncork();
    }
    if (chunk.length === 0) done();
  }

  /** A connection that is gone says nothing; how the pipe ended does. */
  #written(error: Error | null | undefined, done: (error?: Error | null) => void): void {
    if (error === null || error === undefined) done();
    else this.#program.outcome.then(() => done(ended(this.attachment.pipe)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#program.data.write(shortProgramFrame(PROGRAM_FRAME.end));
    this.#program.outcome.then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    leave(this.#program.data, this.writableFinished ? undefined : (error?.message ?? ''));
    done(error);
  }
}

export class AttachedTail extends Readable {
  readonly attachment: Attachment;
  readonly #program: Program;

  constructor(program: Program) {
    super({ highWaterMark: LIMITS.programReadBytes });
    this.attachment = program.attachment;
    this.#program = program;
    const { data, outcome } = program;
    const reader = new ProgramFrameReader({
      data: (memory, from, to) => {
        if (!this.push(memory.subarray(from, to))) data.pause();
        return to - from;
      },
      end: () => this.push(null),
      failure: () => undefined,
      taken: () => undefined,
    });
    data.on('error', () => {});
    data.on('data', (bytes: Buffer) => {
      try {
        reader.parse(bytes, 0, bytes.length);
      } catch (thrown) {
        this.destroy(toPenstockError(thrown));
      }
    });
    data.pause();
    data.once('close', () => this.#gone());
    outcome.catch((error) => this.destroy(toPenstockError(error)));
  }

  /** Resolves once the whole pipe has ended well, after all was read; rejects with its first cause. */
  get outcome(): Promise<void> {
    return this.#program.outcome;
  }

  #gone(): void {
    if (this.readableEnded || this.destroyed) return;
    this.#program.outcome.then(
      () => this.destroy(ended(this.attachment.pipe)),
      (error) => this.destroy(toPenstockError(error)),
    );
  }

  override _read(): void {
    this.#program.data.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const { data } = this.#program;
    if (this.readableEnded && error === null) data.end(shortProgramFrame(PROGRAM_FRAME.end));
    else leave(data, error?.message ?? '');
    done(error);
  }
}

/** Ends the data connection; `why` where that is before its end. */
function leave(data: Socket, why: string | undefined): void {
  if (why === undefined || data.destroyed) data.destroy();
  else {
    data.end(shortProgramFrame(PROGRAM_FRAME.failure, why));
    // What still comes is nobody's; behind it is the end of the connection.
    data.removeAllListeners('data').resume();
    // The thread may read no more.
    setTimeout(() => data.destroy(), LIMITS.programEndMs).unref();
  }
}
