/**
 * Requests to a server over a few connections that are kept, sent again when a connection breaks.
 *
 * Contract: a request must be one that can be made again. It is answered, or fails with what the
 * server said, or with NET_LOST once it has been tried in vain for the reconnect limit: from then on
 * every request fails so, at once. A server that could never be reached is told at once
 * (NET_UNREACHABLE, NET_UNTRUSTED). A connection on which nothing moves for the idle limit counts as
 * broken. The bytes of bodies, both ways together, keep to the rate. No more requests are under way than there
 * may be connections, so that none waits within Node.js, which forgets those for which no connection came about.
 */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { availableParallelism } from 'node:os';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { ERRORS, type ErrorCode, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Clock } from '../../host/mod.ts';
import { connectPinned, type Server } from '../net/api-client.ts';
import { connectionsFor, roundTripMsOf } from '../net/distance.ts';
import type { Identity } from '../net/identity.ts';
import { formatAddress } from '../net/peers.ts';
import { RateLimit } from './rate-limit.ts';

export interface NetOptions {
  readonly identity: Identity;
  readonly server: Server;
  /** Connections at most; 0: by the time that a connection takes to come about. */
  readonly agents: number;
  /** 0: none. */
  readonly bytesPerSecond: number;
  readonly reconnectMs: number;
}

export interface NetRequest {
  readonly method: string;
  /** Encoded, with its query. */
  readonly path: string;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes of the answer that count for the rate. */
  readonly answerBytes?: number;
  readonly bytesMax: number;
  /** A status that is an answer and no error. */
  readonly accept?: number;
  /** Takes the answer's body; without it the body is collected. */
  readonly receive?: (piece: Buffer, at: number) => void;
}

export interface NetAnswer {
  readonly status: number;
  /** The length that the answer's head tells. */
  readonly contentLength: number;
  readonly body: Buffer;
  readonly bytes: number;
  /** 1, or more where it had to be sent again. */
  readonly attempts: number;
}

/** What went wrong with a connection; another one may do better. */
class Broken extends Error {}

export class NetClient {
  readonly #options: NetOptions;
  readonly #clock: Clock;
  readonly #agent: PinnedAgent;
  readonly #rate: RateLimit;
  readonly #address: string;
  readonly #over = new AbortController();
  readonly #places = new Places();
  readonly #underWay = new Set<ClientRequest>();
  #reconnectMs: number;
  #hasAnswered = false;
  #lost: PenstockError | undefined;

  constructor(options: NetOptions, clock: Clock, onAgents: (agents: number) => void) {
    this.#options = options;
    this.#clock = clock;
    this.#rate = new RateLimit(options.bytesPerSecond, clock);
    this.#address = formatAddress(options.server.host, options.server.port);
    this.#reconnectMs = options.reconnectMs;
    this.#agent = new PinnedAgent(
      options,
      () => this.#idleMs,
      (agents) => {
        this.#places.allow(agents);
        onAgents(agents);
      },
    );
  }

  /** The request's answer, with a status below 400. */
  async request(request: NetRequest): Promise<NetAnswer> {
    let firstFailureMs = -1;
    for (let attempts = 1; ; attempts++) {
      await this.#takeTurn(request);
      await this.#places.take();
      if (this.#lost !== undefined) {
        this.#places.give();
        throw this.#lost;
      }
      try {
        const answer = await this.#once(request, attempts);
        this.#hasAnswered = true;
        if (answer.status < 400 || answer.status === request.accept) return answer;
        const error = errorOf(answer, this.#address);
        if (error.code !== 'NET_BUSY') throw error;
        throw new Broken(error.message, { cause: error });
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        const nowMs = this.#clock.monotonicMs();
        if (firstFailureMs < 0) firstFailureMs = nowMs;
        this.#giveUpOn(error, nowMs - firstFailureMs);
        await this.#pause(Math.min(LIMITS.netRetryMsMax, LIMITS.netRetryMs * 2 ** (attempts - 1)));
      }
    }
  }

  /** Waits no longer than this for a server that is away: the command was interrupted. */
  hurry(): void {
    this.#reconnectMs = Math.min(this.#reconnectMs, LIMITS.netHurryMs);
    for (const request of this.#underWay) request.setTimeout(this.#idleMs);
    this.#agent.hurry();
  }
  /** Half of the reconnect limit at most, so that there is time to try again. */
  get #idleMs(): number {
    return Math.min(LIMITS.netIdleMs, Math.max(this.#reconnectMs / 2, LIMITS.netRetryMs));
  }

  /** Ends all connections; requests under way fail. */
  close(): void {
    this.#lose(new PenstockError('NET_LOST', `the connection to ${this.#address} was closed`));
    this.#agent.destroy();
  }

  /** From now on every request fails, also those that wait for something; returns with what. */
  #lose(error: PenstockError): PenstockError {
    this.#lost ??= error;
    this.#over.abort();
    this.#places.allow(Number.POSITIVE_INFINITY);
    return this.#lost;
  }

  get lost(): PenstockError | undefined {
    return this.#lost;
  }

  async #takeTurn({ body, answerBytes }: NetRequest): Promise<void> {
    const waitMs = this.#rate.delayMs((body?.length ?? 0) + (answerBytes ?? 0));
    if (waitMs > 0) await this.#pause(waitMs);
  }
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#over.signal }).catch(() => undefined);
  }

  #giveUpOn(error: Broken, forMs: number): void {
    const { cause } = error;
    // A server that was never reached is most likely not there: nobody wants to wait for it.
    if (!this.#hasAnswered && cause instanceof PenstockError && cause.code === 'NET_UNREACHABLE') {
      throw this.#lose(cause);
    }
    if (forMs < this.#reconnectMs) return;
    const seconds = Math.round(forMs / 1000);
    const message = `the connection to ${this.#address} was lost and did not come back in ${seconds} s: ${error.message}`;
    throw this.#lose(new PenstockError('NET_LOST', message, { subject: this.#address, cause }));
  }

  /** Gives its place back. */
  #once(request: NetRequest, attempts: number): Promise<NetAnswer> {
    const { method, path, body, headers } = request;
    const { host, port } = this.#options.server;
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(toBroken(error));
      const sent = httpsRequest({
        method,
        host,
        port,
        path,
        agent: this.#agent,
        headers: {
          ...headers,
          ...(body === undefined
            ? {}
            : { 'content-length': body.length, 'content-type': 'application/octet-stream' }),
        },
      });
      this.#underWay.add(sent);
      sent.setTimeout(this.#idleMs);
      sent.on('timeout', () => sent.destroy(new Error('nothing came for too long')));
      sent.once('close', () => {
        this.#underWay.delete(sent);
        // Its connection is free behind this call.
        process.nextTick(() => this.#places.give());
      });
      sent.on('error', fail);
      sent.once('response', (answer) => receive(answer, request, attempts).then(resolve, fail));
      sendBody(sent, body);
    });
  }
}

/**
 * Sends a body in pieces, each once the one before it is out: what the TLS library would make of it as
 * a whole is as large again, in fresh memory.
 */
function sendBody(request: ClientRequest, body: Uint8Array | undefined): void {
  const bytes = body ?? NO_BYTES;
  let at = 0;
  const next = (error?: Error | null): void => {
    if (request.destroyed || (error !== undefined && error !== null)) return;
    const end = Math.min(at + LIMITS.netSendBytes, bytes.length);
    const piece = bytes.subarray(at, end);
    at = end;
    if (at === bytes.length) request.end(piece);
    else request.write(piece, next);
  };
  next();
}
const NO_BYTES = Buffer.alloc(0);

async function receive(
  answer: IncomingMessage,
  request: NetRequest,
  attempts: number,
): Promise<NetAnswer> {
  const status = answer.statusCode ?? 0;
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    const bytesMax = status < 400 ? request.bytesMax : LIMITS.apiErrorBytesMax;
    if (bytes + piece.length > bytesMax) {
      answer.destroy();
      throw new PenstockError('LIMIT', `an answer has more than ${bytesMax} bytes`);
    }
    if (request.receive !== undefined && status < 400) request.receive(piece, bytes);
    else pieces.push(piece);
    bytes += piece.length;
  }
  const contentLength = Number(answer.headers['content-length'] ?? 0);
  const [first] = pieces;
  const body = pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces);
  return { status, contentLength, body, bytes, attempts };
}

/** An operating error that trying again does not heal passes; all else is a broken connection. */
function toBroken(error: Error): Error {
  if (!(error instanceof PenstockError)) return new Broken(error.message, { cause: error });
  return error.retryable ? new Broken(error.message, { cause: error }) : error;
}

/** What the server said. */
function errorOf(answer: NetAnswer, address: string): PenstockError {
  let said: { code?: unknown; message?: unknown; hint?: unknown } | undefined;
  try {
    said = (JSON.parse(answer.body.toString('utf8')) as { error?: typeof said }).error;
  } catch {
    // Told below.
  }
  const { code, message, hint } = said ?? {};
  if (typeof code !== 'string' || !Object.hasOwn(ERRORS, code) || typeof message !== 'string') {
    const text = `${address} answered with status ${answer.status} without a reason`;
    return new PenstockError('NET_PROTOCOL', text, { subject: address });
  }
  const cut = (text: string): string => text.slice(0, LIMITS.netMessageLengthMax);
  return new PenstockError(code as ErrorCode, `${address}: ${cut(message)}`, {
    ...(typeof hint === 'string' ? { hint: cut(hint) } : {}),
  });
}

/** Places for requests, taken in the order of asking. */
class Places {
  #most = 0;
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  /** From now on there are so many. */
  allow(most: number): void {
    this.#most = most;
    this.#hand();
  }
  async take(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    this.#hand();
    await promise;
  }
  give(): void {
    this.#taken -= 1;
    this.#hand();
  }
  #hand(): void {
    while (this.#taken < this.#most) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#taken += 1;
      next();
    }
  }
}

/** Few connections, each of which is handed on once the server has shown the pinned certificate. */
class PinnedAgent extends Agent {
  readonly #options: NetOptions;
  readonly #connectMs: () => number;
  readonly #onAgents: (agents: number) => void;
  readonly #connecting = new Set<Connecting>();
  #isMeasured = false;
  /** Connections so far. */
  #made = 0;

  constructor(options: NetOptions, connectMs: () => number, onAgents: (agents: number) => void) {
    const agents = options.agents === 0 ? LIMITS.agentsLeast : options.agents;
    super({ keepAlive: true, maxFreeSockets: agents, maxCachedSessions: 0 });
    this.#options = options;
    this.#connectMs = connectMs;
    this.#onAgents = onAgents;
    onAgents(agents);
  }

  /** Connections that are being made have no more time than new ones. */
  hurry(): void {
    for (const connecting of this.#connecting) connecting.limit(this.#connectMs());
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    // The types know the form that answers at once only.
    const done = callback as (error: Error | null, stream?: Duplex) => void;
    const connecting = new Connecting(this.#options, this.#made++);
    this.#connecting.add(connecting);
    connecting.limit(this.#connectMs());
    connecting.socket
      .finally(() => this.#connecting.delete(connecting))
      .then(
        (socket) => {
          this.#measure(roundTripMsOf(socket));
          done(null, socket);
        },
        (error: Error) => done(error),
      );
  }

  #measure(roundTripMs: number): void {
    if (this.#isMeasured || this.#options.agents !== 0) return;
    this.#isMeasured = true;
    const addresses = this.#options.server.localAddresses?.length;
    const agents = connectionsFor(roundTripMs, availableParallelism(), addresses);
    this.maxFreeSockets = agents;
    this.#onAgents(agents);
  }
}

/** A connection that is being made, within a limit that may become shorter. */
class Connecting {
  readonly socket: Promise<TLSSocket>;
  #timer: NodeJS.Timeout | undefined;
  #fail: (error: Error) => void = () => undefined;
  readonly #address: string;

  /** `number`: of the connection; they take turns with this machine's addresses. */
  constructor({ identity, server: { localAddresses = [], ...rest } }: NetOptions, number: number) {
    const address = localAddresses[number % Math.max(1, localAddresses.length)];
    const server = address === undefined ? rest : { ...rest, localAddresses: [address] };
    this.#address = formatAddress(server.host, server.port);
    this.socket = new Promise((resolve, reject) => {
      let isLate = false;
      this.#fail = (error) => {
        isLate = true;
        reject(error);
      };
      connectPinned(identity, server)
        .then((socket) => {
          if (isLate) socket.destroy();
          else resolve(socket);
        }, reject)
        .finally(() => clearTimeout(this.#timer));
    });
  }

  limit(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const message = `cannot connect to ${this.#address}: no answer in time`;
      this.#fail(new PenstockError('NET_UNREACHABLE', message, { subject: this.#address }));
    }, ms);
  }
}
