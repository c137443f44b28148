/**
 * The world in which the prune protocol is tested: a store in memory whose listings may be torn,
 * actors that run one operation at a time in any order, crash and sleep, and the invariant.
 *
 * Contract: everything is decided by a schedule and a seed; the same pair gives the same run.
 * A violation is thrown as Violation at the step that caused it.
 */
import { must } from '../../src/base/assert.ts';
import type {
  Kind,
  Listed,
  Operation,
  RecordKind,
  Records,
  ReferenceRecord,
  Steps,
} from '../../src/mover/protocol-store.ts';

export class Violation extends Error {
  override readonly name: string = 'Violation';
}

/** A chunk of the model: who wrote it, and its blobs (small numbers). */
export interface ModelChunk {
  readonly session: string;
  readonly blobs: readonly number[];
}

/** What actors do besides the protocol's own operations. */
export type ModelOperation =
  | Operation
  | { readonly op: 'putChunk'; readonly id: string; readonly chunk: ModelChunk }
  | { readonly op: 'readChunk'; readonly id: string }
  | { readonly op: 'pause' };

export type ModelSteps<Outcome> = Generator<ModelOperation, Outcome, unknown>;

/** A replacement of a protocol by a faulty one. */
export type Mutation = <Outcome>(steps: Steps<Outcome>) => ModelSteps<Outcome>;

/** A small seeded generator of random numbers (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 0x9e3779b1 + 0x7f4a7c15) >>> 0;
  }

  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * bound);
  }

  chance(probability: number): boolean {
    return this.below(1000) < probability * 1000;
  }

  pick<T>(values: readonly T[]): T {
    return must(values[this.below(values.length)], 'something to pick from');
  }
}

/** Index segments of the model: three bytes an entry. */
export interface IndexEntry {
  readonly blob: number;
  readonly chunk: string;
}

export function encodeSegment(entries: readonly IndexEntry[]): Uint8Array {
  return Uint8Array.from(
    entries.flatMap(({ blob, chunk }) => {
      const number = Number(chunk.slice(1));
      return [blob, number & 0xff, number >> 8];
    }),
  );
}

export function decodeSegment(segment: Uint8Array): IndexEntry[] {
  const entries: IndexEntry[] = [];
  for (let at = 0; at < segment.length; at += 3) {
    const [blob = 0, low = 0, high = 0] = segment.subarray(at, at + 3);
    entries.push({ blob, chunk: `c${low | (high << 8)}` });
  }
  return entries;
}

interface Stored {
  readonly record: unknown;
  stampMs: number;
}

/** A listing under way: what was there at its start, and what came or went since. */
interface Listing {
  readonly kind: Kind;
  readonly start: Map<string, number>;
  readonly changed: Map<string, number>;
}

const KINDS: readonly Kind[] = [
  'chunk',
  'index',
  'archive',
  'pending',
  'lease',
  'condemn',
  'deleting',
  'verdict',
];

export class ModelStore {
  readonly #objects: Map<Kind, Map<string, Stored>> = new Map(
    KINDS.map((kind) => [kind, new Map()]),
  );
  readonly #everPut: Set<string> = new Set();
  readonly #listings: Set<Listing> = new Set();
  readonly #coin: () => boolean;
  clockMs = 1_000_000;

  /** `coin` decides whether a listing shows what came or went while it ran. */
  constructor(coin: () => boolean) {
    this.#coin = coin;
  }

  of(kind: Kind): Map<string, Stored> {
    return must(this.#objects.get(kind), 'a kind of the store');
  }

  record<K extends RecordKind>(kind: K, id: string): Records[K] | null {
    return (this.of(kind).get(id)?.record ?? null) as Records[K] | null;
  }

  chunk(id: string): ModelChunk | null {
    return (this.of('chunk').get(id)?.record ?? null) as ModelChunk | null;
  }

  beginListing(kind: Kind): Listing {
    const start = new Map([...this.of(kind)].map(([id, { stampMs }]) => [id, stampMs]));
    const listing: Listing = { kind, start, changed: new Map() };
    this.#listings.add(listing);
    return listing;
  }

  /** What stayed is listed; what came or went in between is listed or not, by a coin. */
  endListing(listing: Listing): readonly Listed[] {
    this.#listings.delete(listing);
    const listed: Listed[] = [];
    for (const [id, stampMs] of new Map([...listing.start, ...listing.changed])) {
      if (listing.changed.has(id) && !this.#coin()) continue;
      listed.push({ id, stampMs: this.of(listing.kind).get(id)?.stampMs ?? stampMs });
    }
    return listed;
  }

  put(kind: Kind, id: string, record: unknown): boolean {
    if (this.of(kind).has(id)) return false;
    const name = `${kind}/${id}`;
    if (this.#everPut.has(name) && kind !== 'deleting' && kind !== 'verdict') {
      throw new Violation(`${name} is put a second time`);
    }
    this.#everPut.add(name);
    this.of(kind).set(id, { record, stampMs: this.clockMs });
    this.#noteChange(kind, id);
    return true;
  }

  remove(kind: Kind, id: string): boolean {
    this.#noteChange(kind, id);
    return this.of(kind).delete(id);
  }

  #noteChange(kind: Kind, id: string): void {
    const stampMs = this.of(kind).get(id)?.stampMs;
    if (stampMs === undefined) return;
    for (const listing of this.#listings) {
      if (listing.kind === kind) listing.changed.set(id, stampMs);
    }
  }

  execute(operation: ModelOperation): unknown {
    switch (operation.op) {
      case 'list':
        return this.endListing(this.beginListing(operation.kind));
      case 'read':
        return this.record(operation.kind, operation.id);
      case 'readChunk':
        return this.chunk(operation.id);
      case 'put':
        return this.put(operation.kind, operation.id, operation.record);
      case 'putChunk':
        return this.put('chunk', operation.id, operation.chunk);
      case 'remove':
        this.remove(operation.kind, operation.id);
        return undefined;
      case 'publish': {
        const pending = this.record('pending', operation.id);
        return pending !== null && this.put('archive', operation.id, pending);
      }
      case 'touch': {
        const lease = this.of('lease').get(operation.id);
        if (lease !== undefined) lease.stampMs = this.clockMs;
        return lease !== undefined;
      }
      case 'now':
        return this.clockMs;
      case 'pause':
        return undefined;
    }
  }

  /** Blobs that an index entry leads to. */
  reachable(): Set<number> {
    const blobs = new Set<number>();
    for (const { record } of this.of('index').values()) {
      for (const { blob, chunk } of decodeSegment(record as Uint8Array)) {
        if (this.chunk(chunk)?.blobs.includes(blob)) blobs.add(blob);
      }
    }
    return blobs;
  }

  /** Throws unless every blob of every published archive is reachable. */
  checkInvariant(after: string): void {
    const reachable = this.reachable();
    for (const [id, { record }] of this.of('archive')) {
      for (const blob of (record as ReferenceRecord).body ?? []) {
        if (!reachable.has(blob)) throw new Violation(`blob ${blob} of ${id} lost after ${after}`);
      }
    }
  }
}

/** `op` or `op kind`. */
export function nameOf(operation: ModelOperation): string {
  return 'kind' in operation ? `${operation.op} ${operation.kind}` : operation.op;
}

/** One generator with its next operation: executed at the next step, not before. */
export class Actor {
  readonly name: string;
  #steps: ModelSteps<void>;
  #next: ModelOperation | null;
  #listing: Listing | null = null;
  readonly #torn: boolean;

  constructor(name: string, steps: ModelSteps<void>, torn: boolean) {
    this.name = name;
    this.#steps = steps;
    this.#torn = torn;
    this.#next = this.#resume(undefined);
  }

  get done(): boolean {
    return this.#next === null;
  }

  /** The name of the next operation, such as `put verdict`; null when done. */
  get nextName(): string | null {
    const operation = this.#next;
    if (operation === null) return null;
    return nameOf(operation);
  }

  crash(): void {
    this.#next = null;
  }

  /** Executes one operation; a listing takes two steps, so that the store changes under it. */
  step(store: ModelStore): void {
    const operation = this.#next;
    if (operation === null) return;
    if (operation.op === 'list' && this.#torn && this.#listing === null) {
      this.#listing = store.beginListing(operation.kind);
      return;
    }
    const result =
      this.#listing === null ? store.execute(operation) : store.endListing(this.#listing);
    this.#listing = null;
    if (operation.op === 'remove' || operation.op === 'publish') {
      const kind = operation.op === 'remove' ? operation.kind : 'archive';
      if (kind === 'chunk' || kind === 'index' || kind === 'archive') {
        store.checkInvariant(`${this.name}: ${operation.op} ${kind}/${operation.id}`);
      }
    }
    this.#next = this.#resume(result);
  }

  #resume(result: unknown): ModelOperation | null {
    const next = this.#steps.next(result);
    return next.done ? null : next.value;
  }
}
