/**
 * POST /v1/pair: the one route for machines that are not paired yet.
 *
 * Contract: a secret that is wrong, used, or too old is refused with the same answer after the same
 * delay; attempts are counted by address. Nothing is told before the secret was right. What is stored
 * is the certificate of this very connection.
 */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { Attempts } from '../channel/net/addresses.ts';
import { type PairAnswer, type PairRequest, PendingTokens } from '../channel/net/pairing.ts';
import { isPeerName, mayAccess } from '../channel/net/peers.ts';
import { peerFingerprint } from '../channel/net/pinned-tls.ts';
import type { MonitorContext, MonitorServer } from './context.ts';
import { PAIR_PATH } from './listener.ts';
import { ACCESS_SCHEMA } from './status-routes.ts';

const WINDOW_MS = 60_000;

const SCHEMA = {
  summary: 'pair with a one-time token; the only route for machines that are not paired',
  body: {
    type: 'object',
    required: ['secret', 'name'],
    additionalProperties: false,
    properties: {
      secret: { type: 'string', minLength: 22, maxLength: 22 },
      name: { type: 'string', minLength: 1, maxLength: LIMITS.peerNameLengthMax },
    },
  },
  response: {
    200: {
      type: 'object',
      required: ['name', 'calledName', 'access', 'repositories'],
      properties: {
        name: { type: 'string' },
        calledName: { type: 'string' },
        access: ACCESS_SCHEMA,
        repositories: { type: 'array', items: { type: 'string' } },
      },
    },
  },
} as const;

export function pairRoutes(server: MonitorServer, context: MonitorContext): void {
  const { clock, log, peers, repositories, state } = context;
  const tokens = new PendingTokens(state, clock);
  const attempts = new Attempts(LIMITS.pairAttemptsMax, LIMITS.pairAddressesMax, WINDOW_MS, () =>
    clock.monotonicMs(),
  );
  const options = { schema: SCHEMA, bodyLimit: LIMITS.pairBodyBytesMax };
  server.post<{ Body: PairRequest }>(PAIR_PATH, options, async (request): Promise<PairAnswer> => {
    const { secret, name } = request.body;
    const address = request.raw.socket.remoteAddress ?? '';
    if (!attempts.allow(address)) {
      throw new PenstockError('NET_BUSY', 'too many attempts to pair, wait a minute');
    }
    const fingerprint = peerFingerprint(request.raw.socket as TLSSocket);
    const grant = fingerprint === undefined ? undefined : tokens.use(secret);
    if (fingerprint === undefined || grant === undefined || !isPeerName(name)) {
      log.warn('an attempt to pair was refused', { address });
      await sleep(LIMITS.pairRefusalMs);
      throw new PenstockError('PAIRING_REFUSED', 'the token is wrong, was used, or is too old');
    }
    const peer = peers.put({
      name,
      fingerprint,
      kind: 'client',
      pairedMs: clock.nowMs(),
      access: grant.access,
      ...(grant.quotaBytes === undefined ? {} : { quotaBytes: grant.quotaBytes }),
      copyPaths: grant.copyPaths,
      modules: grant.modules ?? [],
      onward: grant.onward ?? [],
    });
    log.info('paired', { name: peer.name, fingerprint, address });
    return {
      name: hostname(),
      calledName: peer.name,
      access: peer.access,
      repositories: [...repositories.keys()].filter((one) => mayAccess(peer, one, 'read')),
    };
  });
}
