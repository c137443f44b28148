/**
 * The monitor: the daemon of a machine, as a library.
 *
 * Contract: `createMonitor` listens when it resolves. Only paired machines get through to its routes
 * (listener.ts), and each may do what it was granted. `close` takes no more connections, lets run
 * what runs for `drainMs`, then stops it; when it resolves no socket is left. It may be called again.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify, {
  type FastifyPluginAsync,
  type FastifyRequest,
  type onSendHookHandler,
} from 'fastify';
import { Registry } from 'prom-client';
import { assert } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Identity, openIdentity } from '../channel/net/identity.ts';
import { type AccessLevel, mayAccess, type Peer, Peers } from '../channel/net/peers.ts';
import { StateFolder } from '../channel/net/state-folder.ts';
import { type Clock, openClock } from '../host/mod.ts';
import type {
  MonitorContext,
  MonitorRoutes,
  MonitorServer,
  MonitorSocket,
  PipeSettings,
} from './context.ts';
import { allowCopies } from './copy-modules.ts';
import { answerError, answerNotFound } from './error-answers.ts';
import { LISTENER_TIMES, type ListenAddress, Listener, type ListenerTimes } from './listener.ts';
import type { Logger } from './logger.ts';
import { measure } from './metrics.ts';
import { describeRoutes } from './openapi.ts';
import { checkCommandName } from './pipe-modules.ts';
import { ROUTES } from './routes.ts';
import { WebSockets } from './web-sockets.ts';

export interface MonitorOptions {
  /** An existing folder. */
  readonly stateDirectory: ByteString;
  /** At least one; port 0 is any free one. */
  readonly listen: readonly ListenAddress[];
  readonly repositories: ReadonlyMap<string, ByteString>;
  /** What is not said of pipes is as the limits say. */
  readonly pipes?: Partial<PipeSettings>;
  readonly log: Logger;
  /** Of this program. */
  readonly version: string;
  readonly clock?: Clock;
  /** Other times than the limits'; tests have not the patience. */
  readonly times?: Partial<ListenerTimes>;
  /** Further routes, of programs that use the monitor as a library. */
  readonly routes?: readonly MonitorRoutes[];
  /** Told every answer to a paired machine, so that tests can hold it against the description. */
  readonly observe?: (answer: ObservedAnswer) => void;
}

export interface ObservedAnswer {
  readonly method: string;
  /** As it was registered; undefined where there is no such route. */
  readonly route: string | undefined;
  readonly status: number;
  readonly contentType: string;
  /** Text, bytes, or whatever else is sent. */
  readonly payload: unknown;
}

export interface Monitor {
  /** Where it listens, with the ports that it got. */
  readonly addresses: readonly ListenAddress[];
  /** The first of them. */
  readonly port: number;
  readonly fingerprint: string;
  close(drainMs: number): Promise<void>;
}

/** How often it is looked whether all connections have ended. */
const CLOSE_POLL_MS = 20;

/**
 * Starts a monitor.
 *
 * @throws USAGE (a name of a command), HOST_IO (a port is taken, the state folder cannot be written), FORMAT (a damaged identity)
 */
export async function createMonitor(options: MonitorOptions): Promise<Monitor> {
  allowCopies();
  for (const name of options.pipes?.commands?.keys() ?? []) checkCommandName(name);
  const state = new StateFolder(options.stateDirectory);
  const identity = await openIdentity(state, options.clock);
  const monitor = new RunningMonitor(options, state, identity);
  try {
    await monitor.start(options.listen);
  } catch (error) {
    await monitor.close(0);
    throw error;
  }
  return monitor;
}

class RunningMonitor implements Monitor, MonitorContext {
  readonly identity: Identity;
  readonly state: StateFolder;
  readonly peers: Peers;
  readonly repositories: ReadonlyMap<string, ByteString>;
  readonly pipes: PipeSettings;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Registry = new Registry();
  readonly addresses: ListenAddress[] = [];
  readonly #options: MonitorOptions;
  readonly #closing = new AbortController();
  readonly #listener: Listener;
  readonly #webSockets = new WebSockets();
  readonly #server: MonitorServer;
  /** Who sent a request, until it is answered. */
  readonly #askedBy = new WeakMap<IncomingMessage, Peer>();
  readonly #onRemoved: ((fingerprint: string) => void)[] = [];
  readonly #onClose: ((drainMs: number) => Promise<void>)[] = [];
  #closed: Promise<void> | undefined;

  constructor(options: MonitorOptions, state: StateFolder, identity: Identity) {
    this.#options = options;
    this.identity = identity;
    this.state = state;
    this.peers = new Peers(state);
    this.repositories = options.repositories;
    this.pipes = {
      commands: new Map(),
      devices: new Map(),
      memoryBytes: LIMITS.pipesBytesDefault,
      ...options.pipes,
    };
    this.version = options.version;
    this.clock = options.clock ?? openClock();
    this.log = options.log;
    this.#server = this.#newServer();
    this.#listener = new Listener({
      identity,
      peers: this.peers,
      times: { ...LISTENER_TIMES, ...options.times },
      clockMs: () => this.clock.monotonicMs(),
      handle: (request, response, peer) => this.#handle(request, response, peer),
      upgrade: (request, socket, head, peer) => {
        if (this.closing.aborted) socket.destroy();
        else this.#webSockets.upgrade(request, socket, head, peer);
      },
      onTrouble: (error) => this.log.error(error.message, { code: error.code }),
      onPeerRemoved: (fingerprint) => this.#peerRemoved(fingerprint),
    });
  }

  get port(): number {
    return this.addresses[0]?.port ?? 0;
  }

  get fingerprint(): string {
    return this.identity.fingerprint;
  }

  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  get connections(): Listener['counts'] {
    return this.#listener.counts;
  }

  async start(listen: readonly ListenAddress[]): Promise<void> {
    const { observe } = this.#options;
    measure(this.#server, this);
    this.#server.addHook('onResponse', (request, reply, done) => {
      const { method, routeOptions } = request;
      const peer = this.#askedBy.get(request.raw)?.name;
      this.log.debug('answered', {
        method,
        route: routeOptions.url,
        status: reply.statusCode,
        peer,
      });
      done();
    });
    if (observe !== undefined) this.#server.addHook('onSend', observeAnswers(observe));
    describeRoutes(this.#server, this);
    for (const routes of [...ROUTES, ...(this.#options.routes ?? [])]) {
      const plugin: FastifyPluginAsync = async (scope) => {
        await routes(scope as MonitorServer, this);
      };
      await this.#server.register(plugin);
    }
    await this.#server.ready();
    for (const address of listen) this.addresses.push(await this.#listener.listen(address));
  }

  // Routes may take these apart from the context, so they are no methods.
  readonly requireAccess = (
    request: FastifyRequest,
    repository: string,
    level: AccessLevel,
  ): Peer => {
    const { peer } = request;
    if (mayAccess(peer, repository, level)) return peer;
    // The same where there is no such repository: names are not given away.
    throw new PenstockError(
      'NET_DENIED',
      repository === '*'
        ? `this needs ${level} access to all repositories`
        : `this needs ${level} access to the repository ${repository}`,
    );
  };

  readonly webSocket = (path: RegExp, accept: (connection: MonitorSocket) => void): void => {
    this.#webSockets.add(path, accept);
  };

  readonly onPeerRemoved = (callback: (fingerprint: string) => void): void => {
    this.#onRemoved.push(callback);
  };

  readonly onClose = (work: (drainMs: number) => Promise<void>): void => {
    this.#onClose.push(work);
  };

  close(drainMs: number): Promise<void> {
    this.#closed ??= this.#end(drainMs);
    return this.#closed;
  }

  async #end(drainMs: number): Promise<void> {
    const endMs = this.clock.monotonicMs() + drainMs;
    this.#closing.abort();
    this.#listener.stopAccepting();
    const limit = new AbortController();
    await Promise.race([
      this.#endWorks(endMs),
      sleep(drainMs + LIMITS.monitorStopMs, undefined, { signal: limit.signal }).catch(
        () => undefined,
      ),
    ]);
    limit.abort();
    this.#webSockets.close();
    while (!this.#listener.isEmpty && this.clock.monotonicMs() < endMs) {
      await sleep(CLOSE_POLL_MS);
      this.#listener.endIdle();
    }
    this.#listener.endAll();
    await this.#server.close();
  }

  async #endWorks(endMs: number): Promise<void> {
    for (const work of this.#onClose.toReversed()) {
      try {
        await work(Math.max(0, endMs - this.clock.monotonicMs()));
      } catch (thrown) {
        this.log.error(`closing: ${toPenstockError(thrown).message}`);
      }
    }
  }

  #newServer(): MonitorServer {
    const askedBy = this.#askedBy;
    const server: MonitorServer = fastify({
      logger: false,
      exposeHeadRoutes: false,
      bodyLimit: LIMITS.monitorBodyBytesMax,
      // What is sent is taken as it is meant, or refused.
      ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
      routerOptions: { maxParamLength: LIMITS.peerNameLengthMax * 4 },
      frameworkErrors: (_error, _request, reply) => void answerNotFound(_request, reply),
    });
    server.decorateRequest('peer', {
      getter() {
        const peer = askedBy.get(this.raw);
        assert(peer !== undefined, 'a route that needs a peer is reached by peers only');
        return peer;
      },
    });
    server.setErrorHandler(answerError(this.log));
    server.setNotFoundHandler(answerNotFound);
    return server;
  }

  #handle(request: IncomingMessage, response: ServerResponse, peer: Peer | undefined): void {
    if (this.closing.aborted) response.shouldKeepAlive = false;
    if (peer !== undefined) this.#askedBy.set(request, peer);
    this.#server.routing(request, response);
  }

  #peerRemoved(fingerprint: string): void {
    this.log.info('the pairing was removed, connections are ended', { fingerprint });
    for (const callback of this.#onRemoved) callback(fingerprint);
  }
}

function observeAnswers(observe: (answer: ObservedAnswer) => void): onSendHookHandler {
  return (request, reply, payload, done) => {
    observe({
      method: request.method,
      route: request.routeOptions.url,
      status: reply.statusCode,
      contentType: String(reply.getHeader('content-type') ?? ''),
      payload,
    });
    done(null, payload);
  };
}
