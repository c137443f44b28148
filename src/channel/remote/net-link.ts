/**
 * The net thread as the main thread sees it (net-thread.ts).
 *
 * Contract: the thread is started by the first call and does not keep the process alive. Requests
 * that are under way when it ends fail.
 */
import type { Worker } from 'node:worker_threads';
import { fromErrorRecord, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { CallMemory } from '../../pipe/call-memory.ts';
import type { NetOptions, NetRequest } from './net-client.ts';
import { takeNetThread } from './net-start.ts';
import type { NetMessage, NetReply } from './net-thread.ts';

export interface LinkAnswer {
  readonly status: number;
  readonly attempts: number;
  readonly body: Buffer;
}

interface Waiting {
  readonly resolve: (answer: LinkAnswer) => void;
  readonly reject: (error: Error) => void;
}

export class NetLink {
  /** The memory over which other threads make calls. */
  readonly memory: SharedArrayBuffer;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended: Promise<void>;
  #next = 1;
  #failure: PenstockError | undefined;
  #lost: PenstockError | undefined;
  #isClosing = false;

  constructor(net: NetOptions, base: string) {
    const agents = net.agents === 0 ? LIMITS.agentsDefaultMax : net.agents;
    const calls = CallMemory.make(LIMITS.netSlotsLeast + 2 * agents, LIMITS.netSlotBytes);
    this.memory = calls.shared;
    this.#worker = takeNetThread();
    this.#send({ memory: calls.shared, net, base });
    this.#worker.on('message', (reply: NetReply) => this.#take(reply));
    this.#worker.on('error', (cause) => this.#fail(cause));
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        calls.end();
        this.#fail(undefined);
        resolve();
      });
    });
  }

  request(request: Omit<NetRequest, 'receive'>): Promise<LinkAnswer> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#next++;
    // While somebody waits for an answer the process must not end.
    if (this.#waiting.size === 0) this.#worker.ref();
    this.#send({ id, request });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
  }

  /** The command was interrupted: a server that is away is not waited for. */
  hurry(): void {
    this.#send('hurry');
  }

  /** Ends the connections and the thread. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#worker.ref();
    this.#send('close');
    const late = setTimeout(() => void this.#worker.terminate(), LIMITS.threadExitMs);
    await this.#ended;
    clearTimeout(late);
  }

  #send(message: NetMessage): void {
    this.#worker.postMessage(message);
  }

  /** Set when the server was out of reach for too long. */
  get lost(): PenstockError | undefined {
    return this.#lost;
  }

  #take({ id, answer, error }: NetReply): void {
    if (error?.code === 'NET_LOST' && (id === 0 || !this.#isClosing))
      this.#lost ??= fromErrorRecord(error);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (error !== undefined) waiting?.reject(fromErrorRecord(error));
    else if (answer !== undefined) {
      const { buffer, byteOffset, byteLength } = answer.body;
      waiting?.resolve({ ...answer, body: Buffer.from(buffer, byteOffset, byteLength) });
    }
  }

  #fail(cause: unknown): void {
    this.#failure ??= new PenstockError('NET_LOST', 'the thread of the network has ended', {
      cause,
    });
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
