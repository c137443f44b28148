/**
 * A session: somebody at work in a repository, with a lease that beats (prune-protocol.ts).
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openSystem } from '../host/mod.ts';
import { protocolStore } from './protocol-adapter.ts';
import { type LeaseRecord, type ProtocolStore, runProtocol } from './protocol-store.ts';
import {
  beat,
  beginSession,
  type CommitOutcome,
  commitSession,
  endSession,
  type LeasePolicy,
} from './prune-protocol.ts';
import type { Repository } from './repository.ts';

export interface Session {
  readonly id: string;
  readonly store: ProtocolStore;
  /** Chunks that are no target for deduplication. */
  readonly avoid: ReadonlySet<string>;
  /** False once the lease was judged dead. */
  readonly alive: boolean;
  commit(archiveId: string, chunks: readonly string[], body: Uint8Array): Promise<CommitOutcome>;
  /** Stops beating and removes the lease. */
  end(): Promise<void>;
}

/** Puts a lease and keeps it alive until `end`. */
export async function openSession(
  repository: Repository,
  role: LeaseRecord['role'],
): Promise<Session> {
  const store = protocolStore(repository);
  const { clock, random } = repository.around;
  const id = random.bytes(16).toString('hex');
  const lease = { role, ...openSystem().processIdentity() };
  const { avoid } = await runProtocol(beginSession(id, lease), store);
  // The time of day goes on while the machine sleeps, the monotonic clock does not: the later counts.
  let beatenMs = clock.monotonicMs();
  let beatenWallMs = clock.nowMs();
  let alive = true;
  let beating: Promise<void> | undefined;
  const once = async (): Promise<void> => {
    const startedMs = clock.monotonicMs();
    const startedWallMs = clock.nowMs();
    try {
      if (await runProtocol(beat(id), store)) {
        beatenMs = startedMs;
        beatenWallMs = startedWallMs;
      } else alive = false;
    } catch {
      // A beat that fails is tried again; the lease's age tells when it is too late.
    }
  };
  const timer = setInterval(() => {
    beating ??= once().finally(() => {
      beating = undefined;
    });
  }, LIMITS.leaseBeatMs);
  timer.unref();
  return {
    id,
    store,
    avoid,
    get alive() {
      return alive;
    },
    commit: (archiveId, chunks, body) =>
      runProtocol(
        commitSession({
          sessionId: id,
          archiveId,
          record: { session: id, chunks, body },
          leaseExpiryMs: LIMITS.leaseExpiryMs,
          leaseAgeMs: () => Math.max(clock.monotonicMs() - beatenMs, clock.nowMs() - beatenWallMs),
        }),
        store,
      ),
    end: async () => {
      clearInterval(timer);
      await beating;
      await runProtocol(endSession(id), store);
    },
  };
}

/** A session that leaves no trace: for dry runs, which commit nothing. */
export function idleSession(repository: Repository): Session {
  return {
    id: repository.around.random.bytes(16).toString('hex'),
    store: protocolStore(repository),
    avoid: new Set(),
    alive: true,
    commit: () => Promise.reject(new PenstockError('INTERNAL', 'a dry run commits nothing')),
    end: async () => undefined,
  };
}

/** How the product judges leases. */
export function leasePolicy(graceMs: number = LIMITS.condemnGraceMs): LeasePolicy {
  return {
    leaseExpiryMs: LIMITS.leaseExpiryMs,
    graceMs,
    stampSlackMs: 2000,
    isKnownDead: (_id, lease) => openSystem().processState(lease) === 'dead',
  };
}
