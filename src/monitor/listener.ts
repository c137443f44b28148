/**
 * The monitor's port: TLS, who is connected, and bounds against slow and greedy clients.
 *
 * Contract: a request reaches `handle` only with the peer whose certificate the connection has shown,
 * or, for `POST /v1/pair` alone, without one. Everybody else gets the same answer whatever was asked
 * for, and is disconnected. Machines that are not (yet) known to be paired share a small number of
 * connections, of which the oldest gives way, so that they cannot keep paired ones out. A client that
 * is removed loses its connections.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { type PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CountedAddresses } from '../channel/net/addresses.ts';
import type { Identity } from '../channel/net/identity.ts';
import type { Peer, Peers } from '../channel/net/peers.ts';
import { peerFingerprint, serverTls } from '../channel/net/pinned-tls.ts';
import { Strangers } from '../channel/net/strangers.ts';
import { type ErrorAnswer, STRANGER_ANSWER } from './error-answers.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** How long clients may take; milliseconds. */
export interface ListenerTimes {
  readonly handshakeMs: number;
  readonly headMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
  readonly keepMs: number;
  readonly strangerMs: number;
}

export const LISTENER_TIMES: ListenerTimes = {
  handshakeMs: LIMITS.monitorHandshakeMs,
  headMs: LIMITS.monitorHeadMs,
  requestMs: LIMITS.monitorRequestMs,
  idleMs: LIMITS.monitorIdleMs,
  keepMs: LIMITS.monitorKeepMs,
  strangerMs: LIMITS.monitorStrangerMs,
};

export interface ListenerSettings {
  readonly identity: Identity;
  readonly peers: Peers;
  readonly times: ListenerTimes;
  /** A clock that only grows. */
  readonly clockMs: () => number;
  /** The peer is missing for POST /v1/pair only. */
  handle(request: IncomingMessage, response: ServerResponse, peer: Peer | undefined): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): void;
  onTrouble(error: PenstockError): void;
  onPeerRemoved(fingerprint: string): void;
}

/** The one thing that may be asked without being paired. */
export const PAIR_PATH = '/v1/pair';

export class Listener {
  readonly #settings: ListenerSettings;
  readonly #servers: Server[] = [];
  /** All connections, also those whose TLS is still being set up, and upgraded ones. */
  readonly #sockets = new Set<Socket>();
  readonly #strangers: Strangers;
  /** Connections of paired machines, by fingerprint. */
  readonly #ofPeers = new Map<string, Set<Socket>>();
  readonly #addresses = new CountedAddresses(LIMITS.monitorAddressConnectionsMax);
  /** Requests of a connection that are not answered yet. */
  readonly #asked = new WeakMap<Socket, number>();
  readonly #poll: NodeJS.Timeout;
  #refused = 0;

  constructor(settings: ListenerSettings) {
    this.#settings = settings;
    this.#strangers = new Strangers(
      LIMITS.monitorStrangersMax,
      settings.times.strangerMs,
      settings.clockMs,
    );
    this.#poll = setInterval(() => {
      this.#strangers.endOld();
      this.#endRemovedPeers();
    }, LIMITS.peersPollMs).unref();
  }

  /** Listens on one address more; returns it with the port that it got. HOST_IO. */
  async listen({ host, port }: ListenAddress): Promise<ListenAddress> {
    const server = this.#newServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(toPenstockError(error)));
      server.listen({ host, port }, () => resolve());
    });
    server.on('error', (error) => this.#settings.onTrouble(toPenstockError(error)));
    this.#servers.push(server);
    return { host, port: (server.address() as AddressInfo).port };
  }

  get counts(): { readonly peers: number; readonly strangers: number; readonly refused: number } {
    const strangers = this.#strangers.size;
    return { peers: this.#sockets.size - strangers, strangers, refused: this.#refused };
  }

  /** Takes no more connections, and ends those on which nothing is asked. */
  stopAccepting(): void {
    for (const server of this.#servers) if (server.listening) server.close();
    this.endIdle();
  }

  endIdle(): void {
    for (const server of this.#servers) server.closeIdleConnections();
    this.#strangers.endAll();
  }

  /** Whether no connection is left. */
  get isEmpty(): boolean {
    return this.#sockets.size === 0;
  }

  endAll(): void {
    clearInterval(this.#poll);
    for (const socket of [...this.#sockets]) socket.destroy();
  }

  #newServer(): Server {
    const { identity, times } = this.#settings;
    const server = createServer({
      ...serverTls(identity),
      handshakeTimeout: times.handshakeMs,
      maxHeaderSize: LIMITS.monitorHeadBytesMax,
      headersTimeout: times.headMs,
      requestTimeout: times.requestMs,
      keepAliveTimeout: times.keepMs,
      connectionsCheckingInterval: times.headMs / 4,
    });
    server.setTimeout(times.idleMs);
    server.on('connection', (socket: Socket) => this.#accept(socket));
    server.on('secureConnection', (socket) => this.#identify(socket));
    // What is no TLS, or no HTTP: it is no trouble of ours, and they are told nothing.
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    server.on('clientError', (_error, socket) => socket.destroy());
    server.on('request', (request, response) => this.#request(request, response));
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    // Without these Node answers before we know who asks.
    const dropRequest = (request: IncomingMessage): void => void request.socket.destroy();
    server.on('checkExpectation', dropRequest).on('connect', dropRequest);
    return server;
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const full = this.#sockets.size >= LIMITS.monitorConnectionsMax;
    if (full || !this.#addresses.add(address)) {
      this.#refused++;
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#strangers.remove(socket);
      this.#addresses.remove(address);
    });
    if (!this.#strangers.add(socket)) this.#refused++;
  }

  /** Tells connections of paired machines from others, once their certificate is there. */
  #identify(socket: TLSSocket): void {
    const peer = this.#peerOf(socket);
    const raw = rawSocketOf(socket);
    if (peer === undefined || raw === undefined) return;
    this.#strangers.remove(raw);
    const own = this.#ofPeers.get(peer.fingerprint) ?? new Set();
    this.#ofPeers.set(peer.fingerprint, own.add(raw));
    raw.once('close', () => {
      own.delete(raw);
      if (own.size === 0) this.#ofPeers.delete(peer.fingerprint);
    });
  }

  /** The paired machine behind a connection, as it is stored now. */
  #peerOf(socket: Duplex): Peer | undefined {
    const fingerprint = peerFingerprint(socket as TLSSocket);
    if (fingerprint === undefined) return undefined;
    try {
      return this.#settings.peers.find(fingerprint, 'client');
    } catch (error) {
      this.#settings.onTrouble(toPenstockError(error));
      return undefined;
    }
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    if (!this.#count(request, response)) return;
    const peer = this.#peerOf(request.socket);
    if (peer !== undefined) this.#settings.handle(request, response, peer);
    else if (request.method === 'POST' && request.url === PAIR_PATH) {
      // One attempt a connection.
      response.shouldKeepAlive = false;
      this.#settings.handle(request, response, undefined);
    } else refuse(request, response);
  }

  /** False for more requests than a connection may have open: each holds memory and may hold files. */
  #count({ socket }: IncomingMessage, response: ServerResponse): boolean {
    const open = (this.#asked.get(socket) ?? 0) + 1;
    this.#asked.set(socket, open);
    response.once('close', () => this.#asked.set(socket, (this.#asked.get(socket) ?? 1) - 1));
    if (open > LIMITS.monitorPipelinedMax) socket.destroy();
    // Of one that was ended the rest of what has come is still handed on.
    return !socket.destroyed;
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const peer = this.#peerOf(socket);
    if (peer === undefined) refuseUpgrade(socket, STRANGER_ANSWER);
    else this.#settings.upgrade(request, socket, head, peer);
  }

  #endRemovedPeers(): void {
    for (const [fingerprint, sockets] of this.#ofPeers) {
      try {
        if (this.#settings.peers.find(fingerprint, 'client') !== undefined) continue;
      } catch (error) {
        this.#settings.onTrouble(toPenstockError(error));
        continue;
      }
      this.#settings.onPeerRemoved(fingerprint);
      for (const socket of [...sockets]) socket.destroy();
    }
  }
}

/**
 * The connection under a TLS socket, which is what 'connection' gave. Node keeps it as `_parent`,
 * and has no other name for it.
 */
function rawSocketOf(socket: TLSSocket): Socket | undefined {
  return (socket as unknown as { _parent?: Socket })._parent;
}

function refuse(request: IncomingMessage, response: ServerResponse): void {
  const { status, body } = STRANGER_ANSWER;
  const text = JSON.stringify(body);
  response.shouldKeepAlive = false;
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': text.length,
  });
  // What else they send is not read.
  response.end(text, () => request.socket.destroySoon());
}

/** Answers an upgrade with an error, in the form of other errors. */
export function refuseUpgrade(socket: Duplex, { status, body }: ErrorAnswer): void {
  const text = JSON.stringify(body);
  const head = [
    `HTTP/1.1 ${status} Refused`,
    'connection: close',
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(text)}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${text}`, () => socket.destroy());
}
