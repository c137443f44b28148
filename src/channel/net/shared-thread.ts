/**
 * The thread of the connections that several pipes share between two machines (P11).
 *
 *   agents of pipe 1 ──┐ pairs of       ┌ streams of HTTP/2 ┐        ┌── agents of pipe 1
 *   agents of pipe 2 ──┤ local sockets ─┤ in n connections  ├────────┤
 *   agents of pipe 3 ──┘                └ of TLS            ┘        └── agents of pipe 3
 *
 * Contract: a stream carries what a connection of its own would carry to an agent, behind the same preamble
 * and with the same proofs and keys; it has a window of its own, so that an agent that does not read holds up no other. The side
 * that connects makes connections and streams again when they break, until it is told to end. A stream
 * whose preamble is of no pipe that this peer has begun is ended without a word.
 */

import type {
  ClientHttp2Session,
  Http2Session,
  Http2Stream,
  ServerHttp2Session,
  ServerHttp2Stream,
} from 'node:http2';
import { connect as connectHttp2, constants, performServerHandshake } from 'node:http2';
import { Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { socketPair } from '../../host/mod.ts';
import { ADMITTED, PREAMBLE_BYTES, readPreamble, writePreamble } from './frame.ts';
import { SetUps } from './link-setup.ts';
import { type HandOver, pause } from './links.ts';
import { serverTls } from './pinned-tls.ts';
import { SESSION_OPTIONS, watchSession, wireOf } from './shared-session.ts';
import { acceptTlsLink, connectTlsLink, type LinkIdentity } from './tls-setup.ts';

/** Where shared connections go, and what their tokens are made of. */
export interface SharedTarget {
  readonly host: string;
  readonly port: number;
  readonly localAddresses: readonly string[];
  readonly links: number;
  readonly id: string;
  readonly secret: Uint8Array;
}

/** The streams that the agents of a pipe need. */
export interface SharedNeed {
  readonly id: string;
  readonly agents: number;
  /** Of each agent. */
  readonly links: number;
}

export type SharedRequest =
  | { readonly type: 'accept'; readonly id: string; readonly secret: Uint8Array }
  | HandOver
  | { readonly type: 'keep'; readonly need: SharedNeed; readonly target: SharedTarget }
  | { readonly type: 'drop'; readonly id: string }
  | { readonly type: 'close' };

/** A stream for an agent of this machine, as the descriptor of a local socket. */
export interface SharedStream {
  readonly id: string;
  readonly connection: HandOver;
}

/** Connections to where the other side waits, or waited before. */
interface Place {
  readonly end: AbortController;
  readonly sessions: Set<Http2Session>;
  /** Waits for a session. */
  readonly wakers: Set<() => void>;
  needs: number;
}

interface Need {
  readonly over: AbortController;
  readonly place: Place;
}

class SharedThread {
  readonly #port: MessagePort;
  readonly #identity: LinkIdentity;
  readonly #context: ReturnType<typeof createSecureContext>;
  readonly #sessions = new Set<Http2Session>();
  readonly #needs = new Map<string, Need>();
  /** By the id under which the other side waits; the newest is the last. */
  readonly #places = new Map<string, Place>();
  readonly #used = new Set<number>();
  readonly #setUps = new SetUps();
  readonly #end: AbortController = new AbortController();
  #accepts: { readonly id: string; readonly secret: Uint8Array } | undefined;

  constructor(port: MessagePort, identity: LinkIdentity) {
    this.#port = port;
    this.#identity = identity;
    this.#context = createSecureContext(serverTls(identity));
  }

  take(request: SharedRequest): void {
    switch (request.type) {
      case 'accept':
        this.#accepts = request;
        break;
      case 'link':
        void this.#accept(request);
        break;
      case 'keep':
        this.#keep(request.need, this.#place(request.target));
        break;
      case 'drop':
        this.#drop(request.id);
        break;
      case 'close':
        this.#close();
        break;
    }
  }

  #close(): void {
    this.#end.abort();
    for (const { end } of this.#places.values()) end.abort();
    for (const { over } of this.#needs.values()) over.abort();
    for (const session of this.#sessions) session.destroy();
    this.#port.close();
  }

  /**
   * Connections to where the other side waits. It may have begun to wait elsewhere meanwhile, and pipes may say so
   * in any order: those to a place stay while a pipe needs them, to the newest one also when none does.
   */
  #place(target: SharedTarget): Place {
    const place = this.#places.get(target.id) ?? this.#connectTo(target);
    this.#places.delete(target.id);
    this.#places.set(target.id, place);
    this.#leaveOld();
    return place;
  }

  #connectTo(target: SharedTarget): Place {
    const place: Place = {
      end: new AbortController(),
      sessions: new Set(),
      wakers: new Set(),
      needs: 0,
    };
    let attempts = 0;
    for (let slot = 0; slot < Math.min(target.links, LIMITS.sharedLinksMax); slot++) {
      void this.#keepConnected(target, slot, () => attempts++, place);
    }
    return place;
  }

  #leaveOld(): void {
    const newest = [...this.#places.keys()].at(-1);
    for (const [id, { needs, end }] of this.#places) {
      if (needs > 0 || id === newest) continue;
      end.abort();
      this.#places.delete(id);
    }
  }

  #drop(id: string): void {
    const need = this.#needs.get(id);
    if (need === undefined) return;
    this.#needs.delete(id);
    need.over.abort();
    need.place.needs--;
    this.#leaveOld();
  }

  async #keepConnected(
    { host, port, localAddresses, id, secret }: SharedTarget,
    slot: number,
    nextAttempt: () => number,
    place: Place,
  ): Promise<void> {
    const { signal } = place.end;
    let delayMs: number = LIMITS.linkRetryMinMs;
    while (!signal.aborted) {
      try {
        const localAddress = localAddresses[slot % Math.max(1, localAddresses.length)];
        const socket = await connectTlsLink(
          { host, port, localAddress },
          this.#identity,
          this.#context,
          secret,
          { id, agent: 0, attempt: nextAttempt() },
          signal,
        );
        const session = connectHttp2('http://penstock', {
          ...SESSION_OPTIONS,
          createConnection: () => wireOf(socket),
        });
        session.once('remoteSettings', () => {
          delayMs = LIMITS.linkRetryMinMs;
          place.sessions.add(session);
          for (const wake of place.wakers) wake();
        });
        await this.#watch(session, socket, signal);
        place.sessions.delete(session);
      } catch {
        // Agents that have no connection for long say so.
      }
      await pause(delayMs, signal);
      delayMs = Math.min(2 * delayMs, LIMITS.linkRetryMaxMs);
    }
  }

  /** Takes over what the data port has handed over for this peer. */
  async #accept({ agent, attempt, descriptor }: HandOver): Promise<void> {
    const cancel = this.#setUps.begin();
    const signal = AbortSignal.any([this.#end.signal, cancel.signal]);
    try {
      const { id, secret } = this.#accepts ?? { id: '', secret: new Uint8Array(32) };
      const preamble = { id, agent, attempt };
      const { socket, rest } = await acceptTlsLink(
        descriptor,
        this.#identity,
        this.#context,
        secret,
        preamble,
        signal,
      );
      this.#setUps.end(cancel);
      const isKnown = this.#used.has(attempt) || this.#used.size >= LIMITS.linkAttemptsMax;
      if (isKnown || this.#sessions.size >= LIMITS.sharedLinksMax) {
        socket.destroy();
        return;
      }
      this.#used.add(attempt);
      if (rest.length > 0) socket.unshift(rest);
      const session = performServerHandshake(wireOf(socket), SESSION_OPTIONS) as ServerHttp2Session;
      session.on('stream', (stream) => void this.#arrived(stream));
      await this.#watch(session, socket, this.#end.signal);
    } catch {
      this.#setUps.end(cancel);
      // Whatever is wrong ends the connection without a word.
    }
  }

  /** Resolves when a session is over. */
  async #watch(session: Http2Session, socket: Socket, signal: AbortSignal): Promise<void> {
    this.#sessions.add(session);
    await watchSession(session, socket, signal);
    this.#sessions.delete(session);
  }

  #keep({ id, agents, links }: SharedNeed, place: Place): void {
    const over = new AbortController();
    this.#needs.set(id, { over, place });
    place.needs++;
    for (let agent = 0; agent < agents; agent++) {
      let attempts = 0;
      for (let slot = 0; slot < links; slot++) {
        const make = (): Promise<boolean> =>
          this.#stream({ id, agent, attempt: attempts++ }, () =>
            sessionOf(place, agent * links + slot, over.signal),
          );
        void this.#keepStream(make, over.signal);
      }
    }
  }

  /** `make` resolves when a stream is over: whether it had come about. */
  async #keepStream(make: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    let delayMs: number = LIMITS.linkRetryMinMs;
    while (!signal.aborted) {
      const wasUp = await make().catch(() => false);
      if (wasUp) delayMs = LIMITS.linkRetryMinMs;
      await pause(delayMs, signal);
      delayMs = Math.min(2 * delayMs, LIMITS.linkRetryMaxMs);
    }
  }

  /** A stream for an agent; resolves when it is over, with whether it had come about. */
  async #stream(
    preamble: { readonly id: string; readonly agent: number; readonly attempt: number },
    sessionLater: () => Promise<Http2Session | undefined>,
  ): Promise<boolean> {
    const session = await sessionLater();
    if (session === undefined) return false;
    const stream = (session as ClientHttp2Session).request(
      { ':method': 'POST', ':path': '/' },
      { endStream: false },
    );
    stream.on('error', () => {});
    stream.write(writePreamble(preamble));
    const bytes = await readBytes(stream, 1, LIMITS.linkSetupMs).catch(() => undefined);
    if (bytes?.[0] !== ADMITTED) {
      stream.close(constants.NGHTTP2_CANCEL);
      return false;
    }
    // The nonce may have come with it.
    if (bytes.length > 1) stream.unshift(bytes.subarray(1));
    const { agent, attempt, id } = preamble;
    const { descriptor, over } = relay(stream);
    const connection: HandOver = { type: 'link', agent, attempt, descriptor, joins: true };
    this.#port.postMessage({ id, connection } satisfies SharedStream);
    await over;
    return true;
  }

  /** The other side has begun a stream. */
  async #arrived(stream: ServerHttp2Stream): Promise<void> {
    stream.on('error', () => {});
    try {
      stream.respond({ ':status': 200 });
      const bytes = await readBytes(stream, PREAMBLE_BYTES, LIMITS.preambleMs);
      const preamble = readPreamble(bytes.subarray(0, PREAMBLE_BYTES));
      if (preamble === undefined) throw new PenstockError('NET_PROTOCOL', 'that is no preamble');
      if (bytes.length > PREAMBLE_BYTES) stream.unshift(bytes.subarray(PREAMBLE_BYTES));
      const { id, agent, attempt } = preamble;
      const { descriptor } = relay(stream);
      const connection: HandOver = { type: 'link', agent, attempt, descriptor };
      this.#port.postMessage({ id, connection } satisfies SharedStream);
    } catch {
      stream.close(constants.NGHTTP2_CANCEL);
    }
  }
}

/** One of the sessions that are up, by turns; undefined when it is no longer asked for. */
async function sessionOf(
  { sessions, wakers }: Place,
  turn: number,
  signal: AbortSignal,
): Promise<Http2Session | undefined> {
  while (!signal.aborted) {
    const live = [...sessions].filter(({ closed, destroyed }) => !closed && !destroyed);
    if (live.length > 0) return live[turn % live.length];
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        wakers.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      wakers.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
  return undefined;
}

/** Joins a stream with a local socket whose other end is for an agent. */
function relay(stream: Http2Stream): { descriptor: number; over: Promise<void> } {
  const [own, descriptor] = socketPair() ?? [];
  if (own === undefined || descriptor === undefined) {
    stream.close(constants.NGHTTP2_CANCEL);
    throw new PenstockError('LIMIT', 'there are no descriptors left');
  }
  const local = new Socket({ fd: own, readable: true, writable: true, allowHalfOpen: true });
  local.on('error', () => local.destroy());
  const over = new Promise<void>((resolve) => {
    const closed = (): void => {
      if (stream.readableEnded) local.end();
      else local.destroy();
      resolve();
    };
    // It may have been closed since its first bytes were read: that is not told again.
    if (stream.destroyed) closed();
    else stream.once('close', closed);
  });
  local.once('close', () => {
    if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
  });
  stream.pipe(local);
  local.pipe(stream);
  return { descriptor, over };
}

/** At least so many bytes, within a time; what was read is paused. */
function readBytes(stream: Http2Stream, wanted: number, withinMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    const done = (error?: Error): void => {
      clearTimeout(timer);
      stream.off('data', more);
      stream.off('close', ended);
      stream.off('end', ended);
      stream.pause();
      if (error === undefined) resolve(bytes);
      else reject(error);
    };
    const ended = (): void => done(new PenstockError('NET_LOST', 'it was ended'));
    const more = (part: Buffer): void => {
      bytes = Buffer.concat([bytes, part]);
      if (bytes.length >= wanted) done();
    };
    const timer = setTimeout(ended, withinMs);
    stream.on('data', more);
    stream.once('close', ended);
    stream.once('end', ended);
  });
}

if (parentPort !== null) {
  const thread = new SharedThread(parentPort, (workerData as { identity: LinkIdentity }).identity);
  parentPort.on('message', (request: SharedRequest) => thread.take(request));
}
