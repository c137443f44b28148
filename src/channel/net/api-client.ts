/**
 * Asks the monitor of another machine, over HTTPS with pinned fingerprints.
 *
 * Contract: connections are kept for further requests; nothing is written to one before the server's
 * fingerprint was compared. Requests are not repeated here: whether that is safe only the caller
 * knows (`retryable` of the error says whether it may help). Answers are bounded, and an answer that
 * is an error is thrown as the PenstockError that the other side meant. `close` ends everything.
 */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { Agent, type RequestOptions as HttpsOptions, request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import { ERRORS, type ErrorCode, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { noteConnected } from './distance.ts';
import type { Identity } from './identity.ts';
import { formatAddress } from './peers.ts';
import { checkPinned, clientTls } from './pinned-tls.ts';

export interface Server {
  readonly host: string;
  readonly port: number;
  readonly fingerprint: string;
  /** Addresses of this machine from which it is reached; connections that carry data take turns. */
  readonly localAddresses?: readonly string[];
}

export interface ApiRequest {
  /** Bytes are sent as they are, anything else as JSON. */
  readonly body?: Uint8Array | object;
  readonly headers?: OutgoingHttpHeaders;
  readonly signal?: AbortSignal;
  /** The most bytes of an answer. */
  readonly bytesMax?: number;
  /** How long the answer, or its next part, may take. */
  readonly answerMs?: number;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const MESSAGE_LENGTH_MAX = 2000;

export class ApiClient {
  readonly server: Server;
  readonly #address: string;
  readonly #agent: PinnedAgent;

  constructor(identity: Identity, server: Server) {
    this.server = server;
    this.#address = formatAddress(server.host, server.port);
    this.#agent = new PinnedAgent(identity, server);
  }

  /**
   * One request and its whole answer, with a status below 400.
   *
   * @param path with its query, encoded
   * @throws NET_UNREACHABLE, NET_UNTRUSTED, NET_LOST, NET_PROTOCOL, LIMIT, or what the server said
   */
  async request(method: string, path: string, options: ApiRequest = {}): Promise<ApiAnswer> {
    const answer = await this.#exchange(method, path, options);
    if (answer.status < 400) return answer;
    throw this.#errorOf(answer);
  }

  /** As `request`, for routes that answer with JSON. */
  async json<T>(method: string, path: string, options: ApiRequest = {}): Promise<T> {
    const { body } = await this.request(method, path, options);
    try {
      return JSON.parse(body.toString('utf8')) as T;
    } catch (cause) {
      throw this.#notUnderstood('an answer that is no JSON', cause);
    }
  }

  /** Ends all connections; requests under way fail with NET_LOST. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange(method: string, path: string, options: ApiRequest): Promise<ApiAnswer> {
    const { body, signal } = options;
    const bytes = body === undefined || body instanceof Uint8Array ? body : toJson(body);
    const { host, port } = this.server;
    const settings: HttpsOptions = {
      method,
      host,
      port,
      path,
      agent: this.#agent,
      headers: {
        ...(bytes === undefined ? {} : { 'content-length': bytes.length }),
        ...(bytes === body ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(signal === undefined ? {} : { signal }),
    };
    return new Promise((resolve, reject) => {
      let hasSocket = false;
      const fail = (cause: unknown): void => {
        if (signal?.aborted === true) reject(signal.reason);
        else reject(this.#troubleOf(cause, hasSocket));
      };
      const request = httpsRequest(settings, (answer) => {
        readAll(answer, options.bytesMax ?? LIMITS.apiAnswerBytesMax).then(resolve, fail);
      });
      request.setTimeout(options.answerMs ?? LIMITS.apiAnswerMs, () => {
        request.destroy(new Error('nothing came for too long'));
      });
      request.on('socket', () => {
        hasSocket = true;
      });
      request.on('error', fail);
      request.end(bytes);
    });
  }

  #troubleOf(cause: unknown, wasConnected: boolean): PenstockError {
    if (cause instanceof PenstockError) return cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code?.startsWith('HPE_') === true) return this.#notUnderstood('no HTTP', cause);
    return wasConnected
      ? new PenstockError('NET_LOST', `the connection to ${this.#address} broke: ${message}`, {
          cause,
          subject: this.#address,
        })
      : unreachable(this.#address, cause);
  }

  #errorOf({ status, body }: ApiAnswer): PenstockError {
    let error: { code?: unknown; message?: unknown; hint?: unknown; subject?: unknown } | undefined;
    try {
      error = (JSON.parse(body.toString('utf8')) as { error?: typeof error }).error;
    } catch {
      // Told below.
    }
    const { code, message, hint, subject } = error ?? {};
    if (typeof code !== 'string' || !Object.hasOwn(ERRORS, code) || typeof message !== 'string') {
      return this.#notUnderstood(`status ${status} without a reason`, undefined);
    }
    return new PenstockError(code as ErrorCode, `${this.#address}: ${shortened(message)}`, {
      ...(typeof hint === 'string' ? { hint: shortened(hint) } : {}),
      ...(typeof subject === 'string' ? { subject: shortened(subject) } : {}),
    });
  }

  #notUnderstood(what: string, cause: unknown): PenstockError {
    return new PenstockError('NET_PROTOCOL', `${this.#address} answered with ${what}`, {
      cause,
      subject: this.#address,
    });
  }
}

/** Hands a connection on only when the server has shown the pinned certificate. */
class PinnedAgent extends Agent {
  readonly #identity: Identity;
  readonly #server: Server;
  readonly #end = new AbortController();

  constructor(identity: Identity, server: Server) {
    super({ keepAlive: true, maxFreeSockets: LIMITS.apiConnectionsKept, maxCachedSessions: 0 });
    this.#identity = identity;
    this.#server = server;
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    // The types know the form that answers at once only.
    const done = callback as (error: Error | null, stream?: Duplex) => void;
    connectPinned(this.#identity, this.#server, this.#end.signal).then(
      (socket) => done(null, socket),
      (error: Error) => done(error),
    );
  }

  /** Ends connections that are still coming about, too. */
  override destroy(): void {
    this.#end.abort();
    super.destroy();
  }
}

/**
 * A connection to a paired machine, ready to be written to. `signal` gives it up before it is.
 *
 * @throws NET_UNREACHABLE, NET_UNTRUSTED
 */
export function connectPinned(
  identity: Identity,
  server: Server,
  signal?: AbortSignal,
): Promise<TLSSocket> {
  const address = formatAddress(server.host, server.port);
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(unreachable(address, new Error('given up')));
    const { host, port, localAddresses: [localAddress] = [] } = server;
    const socket = connect({
      ...clientTls(identity),
      host,
      port,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    let beganMs = performance.now();
    socket.on('connectionAttempt', () => {
      beganMs = performance.now();
    });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error instanceof PenstockError ? error : unreachable(address, error));
    };
    const end = (): void => fail(new Error('it was closed at once'));
    const giveUp = (): void => fail(new Error('given up'));
    signal?.addEventListener('abort', giveUp, { once: true });
    socket.once('close', () => signal?.removeEventListener('abort', giveUp));
    socket.setNoDelay(true);
    socket.setTimeout(LIMITS.apiConnectMs, () => fail(new Error('no answer in time')));
    socket.once('error', fail);
    socket.once('close', end);
    socket.once('secureConnect', () => {
      noteConnected(socket, performance.now() - beganMs);
      socket.off('error', fail).off('close', end).setTimeout(0).removeAllListeners('timeout');
      signal?.removeEventListener('abort', giveUp);
      try {
        checkPinned(socket, server.fingerprint, address);
        resolve(socket);
      } catch (error) {
        socket.on('error', () => {});
        fail(error as Error);
      }
    });
  });
}

function unreachable(address: string, cause: unknown): PenstockError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new PenstockError('NET_UNREACHABLE', `cannot connect to ${address}: ${message}`, {
    cause,
    subject: address,
    ...(code === undefined ? {} : { errno: code }),
  });
}

function toJson(value: object): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

function shortened(text: string): string {
  return text.slice(0, MESSAGE_LENGTH_MAX);
}

/** The whole body, given up as soon as it is longer than `bytesMax`. */
async function readAll(answer: IncomingMessage, bytesMax: number): Promise<ApiAnswer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > bytesMax) {
      answer.destroy();
      throw new PenstockError('LIMIT', `an answer is longer than ${bytesMax} bytes`);
    }
    parts.push(part);
  }
  const body = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  return { status: answer.statusCode ?? 0, headers: answer.headers, body };
}
