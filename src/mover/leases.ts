/**
 * How leases are judged: who is still at work, whose pending records are stale, and what a condemn
 * record has to wait for.
 *
 * Contract: every judgement here may be wrong (clocks are set anew, machines sleep) and nothing is
 * lost by it: prune-protocol.ts needs them for progress only.
 */
import { type LeaseRecord, now, readAll, remove, type Steps } from './protocol-store.ts';

/** How leases are judged (LIMITS has the values of the product). */
export interface LeasePolicy {
  /** A lease that was not touched for longer has expired. */
  readonly leaseExpiryMs: number;
  /** A condemned chunk waits at least this long where an older lease expired without an end. */
  readonly graceMs: number;
  /** How coarse the store's stamps are. */
  readonly stampSlackMs: number;
  /** True for leases of processes of this machine that are known not to run any more. */
  readonly isKnownDead?: (id: string, lease: LeaseRecord) => boolean;
}

/** A lease and what is thought of it. A damaged one is judged by its stamp, as an old session's. */
export interface JudgedLease {
  readonly id: string;
  readonly role: LeaseRecord['role'];
  readonly createdMs: number;
  /** `expired` may be wrong (a suspended machine, a clock set anew), `dead` is certain. */
  readonly state: 'alive' | 'expired' | 'dead';
  readonly idleMs: number;
}

const DAMAGED_LEASE = { role: 'backup', createdMs: 0 } as const;

/** Reads and judges all leases. */
export function* readLeases(policy: LeasePolicy): Steps<readonly JudgedLease[]> {
  // The clock is read on both sides of the listing: whoever is slow here must not find others idle.
  const beforeMs = yield* now();
  const leases = yield* readAll('lease');
  const afterMs = yield* now();
  return leases.map(({ id, stampMs, record }) => {
    // A stamp far ahead is as wrong as one far behind: the clock was set anew since.
    const idleMs = Math.max(0, beforeMs - stampMs, stampMs - afterMs);
    const dead = record !== 'damaged' && policy.isKnownDead?.(id, record) === true;
    const state = dead ? 'dead' : idleMs > policy.leaseExpiryMs ? 'expired' : 'alive';
    const { role, createdMs } = record === 'damaged' ? DAMAGED_LEASE : record;
    return { id, role, createdMs, state, idleMs };
  });
}

/**
 * Removes the pending records of sessions that are not alive, and returns the leases. Pendings are
 * listed before leases: one in the list was put after its session's lease.
 */
export function* removeStalePendings(policy: LeasePolicy): Steps<readonly JudgedLease[]> {
  const pendings = yield* readAll('pending');
  const leases = yield* readLeases(policy);
  const alive = new Set(leases.filter(({ state }) => state === 'alive').map(({ id }) => id));
  for (const { id, record } of pendings) {
    // A damaged one must not be published; without it, its session notices.
    if (record === 'damaged' || !alive.has(record.session)) yield* remove('pending', id);
  }
  return leases;
}

/** What stands in the way of a condemn record. */
export interface Waiting {
  readonly state: 'waiting';
  /** Leases that are older than the record, and alive. */
  readonly leases: readonly string[];
  /** What is left of the grace. */
  readonly graceLeftMs: number;
}

/**
 * What a condemn record waits for, or null. Prunes wait for no prune (two would wait for each
 * other); what one relies on is safe by its record.
 */
export function judgeLeases(
  leases: readonly JudgedLease[],
  condemnedMs: number,
  nowMs: number,
  policy: LeasePolicy,
): Waiting | null {
  const older = leases.filter(
    ({ role, createdMs, state }) =>
      role !== 'prune' && state !== 'dead' && createdMs <= condemnedMs + policy.stampSlackMs,
  );
  const alive = older.filter(({ state }) => state === 'alive').map(({ id }) => id);
  const graceLeftMs = policy.graceMs - Math.abs(nowMs - condemnedMs);
  if (alive.length === 0 && (older.length === 0 || graceLeftMs <= 0)) return null;
  return { state: 'waiting', leases: alive, graceLeftMs: Math.max(0, graceLeftMs) };
}
