/**
 * GET and DELETE /v1/peers: who is paired with this daemon, for machines with full access to all.
 */
import { PenstockError } from '../base/errors.ts';
import type { Peer, PeerKind } from '../channel/net/peers.ts';
import type { MonitorContext, MonitorServer } from './context.ts';
import { ACCESS_SCHEMA } from './status-routes.ts';

const PEER_SCHEMA = {
  type: 'object',
  required: ['name', 'fingerprint', 'kind', 'pairedMs', 'access', 'copyPaths'],
  properties: {
    name: { type: 'string' },
    fingerprint: { type: 'string' },
    kind: { type: 'string', enum: ['server', 'client'] },
    address: { type: 'string' },
    pairedMs: { type: 'integer' },
    access: ACCESS_SCHEMA,
    quotaBytes: { type: 'integer' },
    copyPaths: { type: 'array', items: { type: 'string' } },
    modules: { type: 'array', items: { type: 'string' } },
    onward: { type: 'array', items: { type: 'string' } },
  },
} as const;

const LIST_SCHEMA = {
  summary: 'the machines that are paired with this one',
  response: {
    200: {
      type: 'object',
      required: ['peers'],
      properties: { peers: { type: 'array', items: PEER_SCHEMA } },
    },
  },
} as const;

const REMOVE_SCHEMA = {
  summary: 'revoke the pairing of a machine; its connections are ended',
  params: {
    type: 'object',
    required: ['kind', 'fingerprint'],
    properties: {
      kind: { type: 'string', enum: ['server', 'client'] },
      fingerprint: { type: 'string', pattern: '^[0-9a-f]{64}$' },
    },
  },
  response: { 204: { type: 'null', description: 'removed' } },
} as const;

export function peerRoutes(server: MonitorServer, context: MonitorContext): void {
  const { peers, log } = context;
  server.get('/v1/peers', { schema: LIST_SCHEMA }, (request): { peers: Peer[] } => {
    context.requireAccess(request, '*', 'full');
    return { peers: peers.list() };
  });
  server.delete<{ Params: { kind: PeerKind; fingerprint: string } }>(
    '/v1/peers/:kind/:fingerprint',
    { schema: REMOVE_SCHEMA },
    async (request, reply) => {
      const by = context.requireAccess(request, '*', 'full');
      const { kind, fingerprint } = request.params;
      if (!peers.remove(fingerprint, kind)) {
        throw new PenstockError('PEER_UNKNOWN', 'no such machine is paired', {
          subject: fingerprint,
        });
      }
      log.info('pairing removed', { kind, fingerprint, by: by.name });
      return reply.code(204).send();
    },
  );
}
