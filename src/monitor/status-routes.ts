/**
 * GET /v1/status: what this daemon is and serves.
 */
import { type Access, mayAccess } from '../channel/net/peers.ts';
import type { MonitorContext, MonitorServer } from './context.ts';

/** The answer of GET /v1/status. */
export interface MonitorStatus {
  readonly version: string;
  readonly fingerprint: string;
  readonly nowMs: number;
  readonly upMs: number;
  /** What the caller is called here, and was granted. */
  readonly peer: { readonly name: string; readonly access: readonly Access[] };
  /** Repositories that the caller may read. */
  readonly repositories: readonly string[];
}

export const ACCESS_SCHEMA = {
  type: 'array',
  items: {
    type: 'object',
    required: ['repository', 'level'],
    properties: {
      repository: { type: 'string' },
      level: { type: 'string', enum: ['read', 'append', 'full'] },
    },
  },
} as const;

const SCHEMA = {
  summary: 'what this daemon is, what it serves, and what the caller may do',
  response: {
    200: {
      type: 'object',
      required: ['version', 'fingerprint', 'nowMs', 'upMs', 'peer', 'repositories'],
      properties: {
        version: { type: 'string' },
        fingerprint: { type: 'string' },
        nowMs: { type: 'integer' },
        upMs: { type: 'integer' },
        peer: {
          type: 'object',
          required: ['name', 'access'],
          properties: { name: { type: 'string' }, access: ACCESS_SCHEMA },
        },
        repositories: { type: 'array', items: { type: 'string' } },
      },
    },
  },
} as const;

export function statusRoutes(server: MonitorServer, context: MonitorContext): void {
  const { clock, identity, repositories, version } = context;
  const startedMs = clock.monotonicMs();
  server.get('/v1/status', { schema: SCHEMA }, ({ peer }): MonitorStatus => {
    return {
      version,
      fingerprint: identity.fingerprint,
      nowMs: clock.nowMs(),
      upMs: Math.round(clock.monotonicMs() - startedMs),
      peer: { name: peer.name, access: peer.access },
      repositories: [...repositories.keys()].filter((name) => mayAccess(peer, name, 'read')),
    };
  });
}
