/**
 * What the routes of the monitor are given, and how they are joined to it.
 *
 * Contract: a set of routes is one function of type MonitorRoutes, named in routes.ts. It registers
 * fastify routes, each with a `schema` of its parameters, body and answers, from which the OpenAPI
 * description is made. No route is reached by a machine that is not paired; what a paired one may do
 * is asked with `requireAccess`. Errors are thrown as PenstockErrors; error-answers.ts gives them
 * their HTTP status. Whatever outlives a request is ended by what `onClose` was given.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Registry } from 'prom-client';
import type { WebSocket } from 'ws';
import type { ByteString } from '../base/bytes.ts';
import type { Identity } from '../channel/net/identity.ts';
import type { AccessLevel, Peer, Peers } from '../channel/net/peers.ts';
import type { StateFolder } from '../channel/net/state-folder.ts';
import type { Clock } from '../host/mod.ts';
import type { Logger } from './logger.ts';
import type { ModuleList } from './pipe-modules.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks. Only `POST /v1/pair` has none: there, reading it is a defect. */
    readonly peer: Peer;
  }
}

export type MonitorServer = FastifyInstance;

/** Joins routes to the monitor; each set has a scope of its own (parsers, hooks). */
export type MonitorRoutes = (
  server: MonitorServer,
  context: MonitorContext,
) => void | Promise<void>;

/** One WebSocket that a paired machine opened. */
export interface MonitorSocket {
  readonly socket: WebSocket;
  readonly request: IncomingMessage;
  readonly peer: Peer;
  /** What the pattern of `webSocket` matched in the path, decoded. */
  readonly groups: Readonly<Record<string, string>>;
}

/** What the administrator says of pipes. */
export interface PipeSettings extends ModuleList {
  /** Of all segments. */
  readonly memoryBytes: number;
  /** How many pipes may use a device at a time, where that is not one. */
  readonly devices: ReadonlyMap<string, number>;
}

export interface MonitorContext {
  readonly identity: Identity;
  readonly state: StateFolder;
  readonly peers: Peers;
  /** Directory by name. */
  readonly repositories: ReadonlyMap<string, ByteString>;
  readonly pipes: PipeSettings;
  /** Where it listens, with the ports that it got; empty while routes are registered. */
  readonly addresses: readonly { readonly host: string; readonly port: number }[];
  /** Of this program. */
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Registry;
  /** How many there are now, and how many were turned away. */
  readonly connections: {
    readonly peers: number;
    readonly strangers: number;
    readonly refused: number;
  };
  /** Aborted when the monitor begins to close: nothing new is started. */
  readonly closing: AbortSignal;
  /** The peer that asks, if it may do this on that repository. NET_DENIED. */
  readonly requireAccess: (request: FastifyRequest, repository: string, level: AccessLevel) => Peer;
  /**
   * Accepts WebSockets on paths that match, such as `/^\/v1\/pipes\/(?<name>[^/]+)\/control$/`.
   * They are closed when their peer is removed and when the monitor closes.
   */
  readonly webSocket: (path: RegExp, accept: (connection: MonitorSocket) => void) => void;
  /** Calls back when this client was removed: what it has open must end. */
  readonly onPeerRemoved: (callback: (fingerprint: string) => void) => void;
  /**
   * What ends in order when the monitor closes: it may take `drainMs` to finish what runs, then
   * stops it. Last given, first ended; connections are closed afterwards.
   */
  readonly onClose: (work: (drainMs: number) => Promise<void>) => void;
}
