/**
 * The thread that holds a process's connections to one remote repository: it takes calls from the
 * threads of pipes out of shared memory (pipe/call-memory.ts), and requests of the main thread as
 * messages.
 *
 * Contract: it starts with the first use of a remote repository and ends with it, or with the
 * process; what it is asked meanwhile is answered, also when the answer is that the server is lost.
 */
import { parentPort } from 'node:worker_threads';
import { must } from '../../base/assert.ts';
import { type ErrorRecord, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { openClock } from '../../host/clock.ts';
import { CALL, CallMemory } from '../../pipe/call-memory.ts';
import { callErrorOf, serveCalls } from '../../pipe/call-server.ts';
import { NetClient, type NetOptions, type NetRequest } from './net-client.ts';

/** What the thread is told first. */
interface NetThreadData {
  readonly memory: SharedArrayBuffer;
  readonly net: NetOptions;
  /** Path of the repository on the server. */
  readonly base: string;
}

/** What the main thread asks for; `id` comes back with the answer. */
export type NetMessage =
  | NetThreadData
  | { readonly id: number; readonly request: Omit<NetRequest, 'receive'> }
  | 'hurry'
  | 'close';

export interface NetReply {
  /** 0: no answer, but the news that the server is lost. */
  readonly id: number;
  readonly answer?: { status: number; contentLength: number; attempts: number; body: Uint8Array };
  readonly error?: ErrorRecord;
}

class NetThread {
  readonly #memory: CallMemory;
  readonly #client: NetClient;
  readonly #base: string;

  constructor({ memory, net, base }: NetThreadData) {
    this.#memory = new CallMemory(memory);
    this.#base = base;
    const { bytesPerSecond } = net;
    if (bytesPerSecond > 0) {
      // So that a slow rate flows, and does not stand still between large pieces.
      const bytes = Math.max(LIMITS.netPartBytesLeast, Math.floor(bytesPerSecond / 8));
      this.#memory.setPartBytesMax(Math.min(bytes, this.#memory.slotBytes));
    }
    this.#client = new NetClient(net, openClock(), (agents) =>
      this.#memory.setWritesMax(2 * agents),
    );
  }

  /** Takes calls until the end. */
  async run(): Promise<void> {
    await serveCalls(this.#memory, (slot, call) => this.#call(slot, call));
  }

  hurry(): void {
    this.#client.hurry();
  }
  /** Tells first whether the server was lost meanwhile. */
  close(): NetReply | undefined {
    const { lost } = this.#client;
    this.#client.close();
    this.#memory.end();
    this.#memory.ring();
    return lost === undefined ? undefined : { id: 0, error: callErrorOf(lost) };
  }

  async answer(id: number, request: NetRequest): Promise<NetReply> {
    try {
      const { status, contentLength, attempts, body } = await this.#client.request(request);
      return { id, answer: { status, contentLength, attempts, body } };
    } catch (error) {
      return { id, error: callErrorOf(error) };
    }
  }

  #call(slot: number, call: number): Promise<number> {
    if (call === CALL.write) return this.#write(slot);
    if (call === CALL.commit) return this.#commit(slot);
    if (call === CALL.discard) return this.#discard(slot);
    if (call === CALL.open) return this.#open(slot);
    return this.#read(slot);
  }
  #chunkPath(slot: number, what: string, query: string): string {
    const { chunk, session } = {
      chunk: this.#memory.chunk(slot),
      session: this.#memory.session(slot),
    };
    return `${this.#base}/chunks/${chunk}/${what}?session=${session}${query}`;
  }

  async #write(slot: number): Promise<number> {
    const at = this.#memory.dataAt(slot);
    const length = this.#memory.length(slot);
    await this.#client.request({
      method: 'PUT',
      path: this.#chunkPath(slot, 'parts', `&position=${this.#memory.position(slot)}`),
      body: this.#memory.bytes.subarray(at, at + length),
      bytesMax: LIMITS.apiErrorBytesMax,
    });
    return length;
  }
  async #commit(slot: number): Promise<number> {
    await this.#client.request({
      method: 'POST',
      path: this.#chunkPath(slot, 'commit', `&bytes=${this.#memory.position(slot)}`),
      bytesMax: LIMITS.apiErrorBytesMax,
    });
    // The mark of the commit has served; where it stays it is swept one day.
    await this.#discard(slot).catch(() => undefined);
    return 0;
  }
  async #discard(slot: number): Promise<number> {
    await this.#client.request({
      method: 'DELETE',
      path: this.#chunkPath(slot, 'parts', ''),
      bytesMax: LIMITS.apiErrorBytesMax,
    });
    return 0;
  }

  #objectPath(slot: number): string {
    return `${this.#base}/objects/chunks/${this.#memory.chunk(slot)}`;
  }
  async #open(slot: number): Promise<number> {
    const answer = await this.#client.request({
      method: 'GET',
      path: `${this.#base}/chunks/${this.#memory.chunk(slot)}`,
      bytesMax: LIMITS.apiErrorBytesMax,
    });
    const { bytes } = JSON.parse(answer.body.toString('utf8')) as { bytes?: unknown };
    if (typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
    throw new PenstockError('NET_PROTOCOL', 'the server does not tell how long a chunk is');
  }
  async #read(slot: number): Promise<number> {
    const { bytes } = this.#memory;
    const at = this.#memory.dataAt(slot);
    const from = this.#memory.position(slot);
    const length = this.#memory.length(slot);
    const answer = await this.#client.request({
      method: 'GET',
      path: this.#objectPath(slot),
      headers: { range: `bytes=${from}-${from + length - 1}` },
      answerBytes: length,
      bytesMax: length,
      receive: (piece, offset) => {
        if (offset + piece.length <= length) piece.copy(bytes, at + offset);
      },
    });
    return answer.bytes;
  }
}

/** The record of an error, short enough for the memory that it crosses. */
const port = must(parentPort, 'the net thread has a parent');
let thread: NetThread;
port.on('message', (message: NetMessage) => {
  if (message === 'hurry') thread.hurry();
  else if (typeof message === 'object' && 'memory' in message) {
    thread = new NetThread(message);
    void thread.run();
  } else if (message === 'close') {
    const news = thread.close();
    if (news !== undefined) port.postMessage(news);
    port.close();
  } else {
    void thread.answer(message.id, message.request).then((reply) => port.postMessage(reply));
  }
});
