/**
 * The store as the prune protocol sees it: kinds of objects, their records, the operations, and the
 * driver that runs a protocol's steps against a real store.
 *
 * Contract: a protocol is a generator that yields one Operation before each access of the store and
 * gets the operation's result back. It holds no timer, no handle and no state outside itself, so it
 * may be dropped at any yield (a crash) or resumed much later (a suspended machine). The same
 * generators run in the model test, which interleaves them, and here.
 *
 * What a store must guarantee (prune-protocol.ts rests on exactly this, and on no clock):
 * - `put` creates the whole object or nothing, never overwrites, and tells which; `publish` links a
 *   pending record as an archive and fails when the pending record is gone; both are durable and
 *   visible to everyone when they return, as is `remove`.
 * - `list` need not be a snapshot, but returns every object that was there during the whole call,
 *   and none that was not there at any moment of it. A store that cannot reach all of its objects
 *   (a pool that is away, a directory that is missing) throws instead of listing the rest.
 * - Object ids are never used twice within a kind.
 * - An error may mean that the operation was done or not; both are safe, as after a crash. A store
 *   that tries again by itself must know its own work: `put` answers true for the object it made.
 */

import { isOutOfReach, PenstockError } from '../base/errors.ts';
import type { ProcessIdentity } from '../host/mod.ts';

/** What the store keeps, one name space a kind. */
export type Kind =
  | 'chunk'
  | 'index'
  | 'archive'
  | 'pending'
  | 'lease'
  | 'condemn'
  | 'deleting'
  | 'verdict';

/**
 * Somebody at work, and the process by which it is known to be dead. A session's id is the id of
 * its lease and stands in its chunks' headers.
 */
export interface LeaseRecord extends ProcessIdentity {
  readonly role: 'backup' | 'restore' | 'prune' | 'migrate';
  /** The store's clock just before the lease was put. */
  readonly createdMs: number;
}

/** An archive record, or one that is about to become it: the same bytes under both kinds. */
export interface ReferenceRecord {
  readonly session: string;
  /** Every chunk in which a blob of the archive was found or put when it was committed. */
  readonly chunks: readonly string[];
  /** What the store writes: opaque here. It may be absent in what `read` returns. */
  readonly body?: Uint8Array;
}

/** A condemned chunk, and the chunks that hold what is still needed of it. */
export interface CondemnedChunk {
  readonly id: string;
  readonly relies: readonly string[];
}

/** Chunks that are to go, and the archives whose needs were looked at when that was decided. */
export interface CondemnRecord {
  readonly chunks: readonly CondemnedChunk[];
  readonly known: readonly string[];
}

/** Which of the condemned chunks go; the others are rescued. */
export interface VerdictRecord {
  readonly remove: readonly string[];
}

/** The records that the protocol reads and writes, by kind. Chunks it only lists and removes. */
export interface Records {
  readonly index: Uint8Array;
  readonly archive: ReferenceRecord;
  readonly pending: ReferenceRecord;
  readonly lease: LeaseRecord;
  readonly condemn: CondemnRecord;
  /** Says nothing but that the record condemn/<same id> is being carried out. */
  readonly deleting: Readonly<Record<string, never>>;
  readonly verdict: VerdictRecord;
}

export type RecordKind = keyof Records;

/** One object of a listing. */
export interface Listed {
  readonly id: string;
  /** When it was put, or touched last, by the store's clock. */
  readonly stampMs: number;
}

/** One access of the store; `read` and `put` are narrower in the helpers below. */
export type Operation =
  | { readonly op: 'list'; readonly kind: Kind }
  | { readonly op: 'read'; readonly kind: RecordKind; readonly id: string }
  | {
      readonly op: 'put';
      readonly kind: RecordKind;
      readonly id: string;
      readonly record: Records[RecordKind];
    }
  | { readonly op: 'remove'; readonly kind: Kind; readonly id: string }
  | { readonly op: 'publish'; readonly id: string }
  | { readonly op: 'touch'; readonly id: string }
  | { readonly op: 'now' };

/** A protocol: yields operations, receives their results, returns its outcome. */
export type Steps<Outcome> = Generator<Operation, Outcome, unknown>;

/** The real store behind the operations; see this file's head for what it must guarantee. */
export interface ProtocolStore {
  list(kind: Kind): Promise<readonly Listed[]>;
  /** The record, or null when there is no such object; throws DAMAGED or FORMAT. */
  read<K extends RecordKind>(kind: K, id: string): Promise<Records[K] | null>;
  /** Creates the object; false when there is one already. */
  put<K extends RecordKind>(kind: K, id: string, record: Records[K]): Promise<boolean>;
  /** Removes the object; no error when it is gone. */
  remove(kind: Kind, id: string): Promise<void>;
  /** Gives pending/<id> the name archive/<id> too; false when the pending record is gone. */
  publish(id: string): Promise<boolean>;
  /** Stamps a lease with the store's clock; false when the lease is gone. */
  touch(id: string): Promise<boolean>;
  /** The store's clock. */
  now(): Promise<number>;
}

/**
 * Runs a protocol against a store to its end.
 *
 * @throws whatever the store throws (a protocol that is cut off so is in the state after a crash:
 *   start it again, commits under a fresh archive id).
 */
export async function runProtocol<Outcome>(
  steps: Steps<Outcome>,
  store: ProtocolStore,
): Promise<Outcome> {
  let next = steps.next();
  while (!next.done) {
    let result: unknown;
    try {
      result = await execute(next.value, store);
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}

function execute(operation: Operation, store: ProtocolStore): Promise<unknown> {
  switch (operation.op) {
    case 'list':
      return store.list(operation.kind);
    case 'read':
      return store.read(operation.kind, operation.id);
    case 'put':
      return store.put(operation.kind, operation.id, operation.record);
    case 'remove':
      return store.remove(operation.kind, operation.id);
    case 'publish':
      return store.publish(operation.id);
    case 'touch':
      return store.touch(operation.id);
    case 'now':
      return store.now();
  }
}

/** The operations as steps with typed results. */
export function* list(kind: Kind): Steps<readonly Listed[]> {
  return (yield { op: 'list', kind }) as readonly Listed[];
}

export function* read<K extends RecordKind>(kind: K, id: string): Steps<Records[K] | null> {
  return (yield { op: 'read', kind, id }) as Records[K] | null;
}

export function* put<K extends RecordKind>(
  kind: K,
  id: string,
  record: Records[K],
): Steps<boolean> {
  return (yield { op: 'put', kind, id, record }) as boolean;
}

export function* remove(kind: Kind, id: string): Steps<void> {
  yield { op: 'remove', kind, id };
}

export function* publish(id: string): Steps<boolean> {
  return (yield { op: 'publish', id }) as boolean;
}

export function* touch(id: string): Steps<boolean> {
  return (yield { op: 'touch', id }) as boolean;
}

export function* now(): Steps<number> {
  return (yield { op: 'now' }) as number;
}

/** The ids of a kind. */
export function* listIds(kind: Kind): Steps<Set<string>> {
  const ids = new Set<string>();
  for (const { id } of yield* list(kind)) ids.add(id);
  return ids;
}

/**
 * Reads a record that may be gone, or damaged: what cannot be read must stand in nobody's way for
 * longer than it takes to clear it away.
 */
export function* inspect<K extends RecordKind>(
  kind: K,
  id: string,
): Steps<Records[K] | 'gone' | 'damaged'> {
  try {
    return (yield* read(kind, id)) ?? 'gone';
  } catch (error) {
    if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
    if (error.code === 'DAMAGED' || error.code === 'FORMAT') return 'damaged';
    throw error;
  }
}

/** One record of a listing with its stamp. */
export interface Entry<K extends RecordKind> {
  readonly id: string;
  readonly stampMs: number;
  readonly record: Records[K] | 'damaged';
}

/** Lists a kind and reads each of its records; what is gone before it is read is left out. */
export function* readAll<K extends RecordKind>(kind: K): Steps<readonly Entry<K>[]> {
  const entries: Entry<K>[] = [];
  for (const { id, stampMs } of yield* list(kind)) {
    const record = yield* inspect(kind, id);
    if (record !== 'gone') entries.push({ id, stampMs, record });
  }
  return entries;
}
