/**
 * The messages that the two halves of a pipe exchange, over one WebSocket a pipe.
 *
 * Contract: messages are JSON, bounded by LIMITS.monitorMessageBytesMax. `closed` is told once, whatever
 * ends the channel, and nothing after it. Messages that come before `listen` wait. Either side pings; a
 * channel that is silent for LIMITS.pipeSilenceMs is ended. Nothing that comes is believed: what is no
 * message ends the channel.
 */
import type { WebSocket } from 'ws';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { WireError } from '../wire-error.ts';

/** A stage of the far half; modules by names that the far machine allows. */
export interface FarStage {
  readonly name: string;
  readonly modules: readonly { readonly name: string; readonly options?: unknown }[];
  readonly instances?: number;
  readonly allocates?: boolean;
  readonly ordered?: boolean;
  readonly partsMax?: number;
  readonly windowBytes?: number;
  readonly startWhen?: 'now' | 'first-buffer';
  /** Stages that it may send to, the first by default. */
  readonly to?: string | readonly string[];
}

/** The part of a pipe on a machine that the far one reaches (P9), by the address under which it is paired there. */
export interface OnwardPart {
  readonly host: string;
  readonly port: number;
  readonly stages: readonly FarStage[];
  readonly maxBuffers?: number;
  readonly minBuffers?: number;
  readonly device?: string;
  readonly onward?: OnwardPart;
}

/** What begins a pipe (P8, P9). */
export interface Initiation {
  readonly type: 'initiate';
  readonly version: number;
  readonly name: string;
  /** What kind of program asks, and on which machine. */
  readonly program: string;
  readonly machine: string;
  /** Which way the data flows, seen from who asks. */
  readonly flow: 'push' | 'pull';
  readonly agents: number;
  readonly maxBuffers: number;
  /** It is content with so many. Default: maxBuffers. */
  readonly minBuffers?: number;
  /** What the far half needs for itself (P13). */
  readonly device?: string;
  readonly payloadBytes: number;
  readonly directoryBytes: number;
  readonly stages: readonly FarStage[];
  readonly headerBytesWord?: number;
  readonly directoryBytesWord?: number;
  readonly lostMs?: number;
  /** The most that the half sends that is asked for. */
  readonly bytesPerSecond?: number;
  /** It shares connections with other pipes of who asks, which calls them so. */
  readonly shared?: string;
  /** Whether order is kept from machine to machine. Default true. */
  readonly ordered?: boolean;
  /** The half is not the last one: where the pipe goes on from there. */
  readonly onward?: OnwardPart;
}

export type PipeMessage =
  | Initiation
  /** The other machine has no room for the half yet: its place in the queue there. */
  | { readonly type: 'queued'; readonly place: number }
  /** Where and how to connect: the data port, the id of the far half, what tokens are made of. */
  | {
      readonly type: 'ready';
      readonly port: number;
      readonly id: string;
      readonly secret: string;
      /** Of the connections that are shared. */
      readonly shared?: { readonly id: string; readonly secret: string };
    }
  /** The half that says so ends, and why; the other one is to end too. */
  | { readonly type: 'stop'; readonly error: WireError }
  | { readonly type: 'ended'; readonly counters: Readonly<Record<string, readonly number[]>> }
  | {
      readonly type: 'control';
      readonly id: number;
      readonly stage: string;
      readonly message: unknown;
    }
  | {
      readonly type: 'answer';
      readonly id: number;
      readonly values?: readonly unknown[];
      readonly error?: WireError;
    }
  | {
      readonly type: 'post';
      readonly stage: string;
      readonly instance: number;
      readonly message: unknown;
    }
  | {
      readonly type: 'warning';
      readonly stage: string;
      readonly instance: number;
      readonly record: unknown;
    }
  /** How far the tail has made the data safe (P14). */
  | { readonly type: 'safe'; readonly value: unknown };

/** The version of these messages and of the frames; both sides must have the same. */
export const PIPE_VERSION = 3;

const TYPES = [
  'initiate',
  'queued',
  'ready',
  'stop',
  'ended',
  'control',
  'answer',
  'post',
  'warning',
  'safe',
];

export interface ChannelEvents {
  message(message: PipeMessage): void;
  closed(): void;
}

export class ControlChannel {
  readonly #socket: WebSocket;
  readonly #early: PipeMessage[] = [];
  #earlyBytes = 0;
  readonly #timer: NodeJS.Timeout;
  /** Resolves when the other side has ended it too, or is not to be heard any more. */
  readonly gone: Promise<void>;
  #events: ChannelEvents | undefined;
  #heardMs: number = performance.now();
  #open = true;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data, isBinary) => this.#received(data as Buffer, isBinary));
    socket.on('ping', () => this.#heard());
    socket.on('pong', () => this.#heard());
    socket.on('error', () => this.close());
    socket.on('close', () => this.#closed());
    this.gone = new Promise((resolve) => socket.once('close', () => resolve()));
    this.#timer = setInterval(() => this.#look(), LIMITS.pipeBeatMs);
  }

  get open(): boolean {
    return this.#open;
  }

  /** From now on messages are given to `events`, first those that have come already. */
  listen(events: ChannelEvents): void {
    this.#events = events;
    while (this.#events === events) {
      const message = this.#early.shift();
      if (this.#early.length === 0) this.#earlyBytes = 0;
      if (message === undefined) break;
      events.message(message);
    }
    if (!this.#open) events.closed();
  }

  /** From now on messages wait again. */
  unlisten(): void {
    this.#events = undefined;
  }

  /** The next message, before `listen`; undefined if none comes in time, or the channel ends. */
  next(withinMs: number): Promise<PipeMessage | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(undefined), withinMs);
      const done = (message: PipeMessage | undefined): void => {
        clearTimeout(timer);
        this.#events = undefined;
        resolve(message);
      };
      this.listen({ message: done, closed: () => done(undefined) });
    });
  }

  /**
   * Sends a message; without effect on a channel that has ended. One whose other side does not read is
   * ended.
   *
   * @throws LIMIT where the message is too long
   */
  send(message: PipeMessage): void {
    if (!this.#open) return;
    const bytes = Buffer.from(JSON.stringify(message));
    if (bytes.length > LIMITS.monitorMessageBytesMax) {
      throw new PenstockError(
        'LIMIT',
        `a message of ${bytes.length} bytes is too long for the other machine`,
      );
    }
    if (this.#socket.bufferedAmount > LIMITS.pipeUnreadBytesMax) {
      this.#socket.terminate();
      this.#closed();
    } else this.#socket.send(bytes, { binary: false });
  }

  /** Ends the channel after what was sent. */
  close(): void {
    if (!this.#open) return;
    this.#socket.close();
    // The other side may never answer.
    const late = setTimeout(() => this.#socket.terminate(), LIMITS.pipeBeatMs);
    void this.gone.then(() => clearTimeout(late));
    this.#closed();
  }

  #heard(): void {
    this.#heardMs = performance.now();
  }

  #look(): void {
    if (performance.now() - this.#heardMs > LIMITS.pipeSilenceMs) {
      this.#socket.terminate();
      this.#closed();
    } else if (this.#socket.readyState !== this.#socket.CONNECTING) this.#socket.ping();
  }

  #received(data: Buffer, isBinary: boolean): void {
    this.#heard();
    if (!this.#open) return;
    const message = isBinary ? undefined : parse(data);
    if (message === undefined) this.close();
    else if (this.#events === undefined) this.#keep(message, data.length);
    else this.#events.message(message);
  }

  #keep(message: PipeMessage, bytes: number): void {
    this.#earlyBytes += bytes;
    const { pipeMessagesEarlyMax, pipeEarlyBytesMax } = LIMITS;
    if (this.#early.length >= pipeMessagesEarlyMax || this.#earlyBytes > pipeEarlyBytesMax) {
      this.close();
    } else this.#early.push(message);
  }

  #closed(): void {
    if (!this.#open) return;
    this.#open = false;
    clearInterval(this.#timer);
    this.#events?.closed();
  }
}

/** The message in these bytes, of a known type; its fields are for the receiver to check. */
function parse(data: Buffer): PipeMessage | undefined {
  try {
    const value: unknown = JSON.parse(data.toString('utf8'));
    const type = (value as { type?: unknown } | null)?.type;
    return TYPES.some((known) => known === type) ? (value as PipeMessage) : undefined;
  } catch {
    return undefined;
  }
}
