/**
 * Brings condemn records to their end (prune-protocol.ts): decide, drop index entries, remove chunks.
 *
 * Contract: may be called for any condemn record, at any time, by several prunes at once. Where there
 * is no room left for rewritten index segments, the chunks go first: entries of chunks that are gone
 * are ignored by everybody, and dropped once there is room.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import type { SegmentShape } from '../format/index-segment.ts';
import { mergeSegments, readTables } from '../index/segment-builder.ts';
import { checkWholeSegment, indexHash } from './index-store.ts';
import { type ProtocolStore, runProtocol } from './protocol-store.ts';
import {
  decideCondemned,
  dropIndexEntries,
  finishCondemned,
  type IndexEditor,
  type LeasePolicy,
} from './prune-protocol.ts';
import type { Repository } from './repository.ts';

/** What became of a condemn record. */
export interface Settled {
  /** `waiting`: others may need its chunks; the next prune goes on. */
  readonly state: 'waiting' | 'done';
  readonly removed: readonly string[];
  readonly bytesRemoved: number;
  readonly rescued: number;
}

const NOTHING: Settled = { state: 'done', removed: [], bytesRemoved: 0, rescued: 0 };

export class CondemnSettler {
  readonly #repository: Repository;
  readonly #store: ProtocolStore;
  readonly #policy: LeasePolicy;
  readonly #leastAgeMs: number;

  /** `leastAgeMs`: records stay at least this long, whether anybody was at work or not. */
  constructor(
    repository: Repository,
    store: ProtocolStore,
    policy: LeasePolicy,
    leastAgeMs: number,
  ) {
    this.#repository = repository;
    this.#store = store;
    this.#policy = policy;
    this.#leastAgeMs = leastAgeMs;
  }

  /** Settles a condemn record as far as that can be done now. */
  async settle(id: string): Promise<Settled> {
    if (await this.#isYoung(id)) return { ...NOTHING, state: 'waiting' };
    const decision = await runProtocol(decideCondemned(id, this.#policy), this.#store);
    if (decision.state === 'gone') return NOTHING;
    if (decision.state === 'waiting') return { ...NOTHING, state: 'waiting' };
    const removed = new Set(decision.remove);
    let bytesRemoved = 0;
    if (removed.size > 0) {
      for (const { name, bytes } of await this.#repository.store.list('chunks')) {
        if (removed.has(name)) bytesRemoved += bytes;
      }
    }
    const hasRoom = await this.#dropEntries(decision.remove);
    await runProtocol(finishCondemned(id, decision.remove), this.#store);
    if (!hasRoom) await this.#dropEntries([]);
    return {
      state: 'done',
      removed: decision.remove,
      bytesRemoved,
      rescued: decision.rescued.length,
    };
  }

  /** Drops index entries of chunks that are gone. */
  async dropStaleEntries(): Promise<void> {
    await this.#dropEntries([]);
  }

  async #isYoung(id: string): Promise<boolean> {
    if (this.#leastAgeMs <= 0) return false;
    const listed = await this.#store.list('condemn');
    const stampMs = listed.find((one) => one.id === id)?.stampMs;
    return stampMs !== undefined && (await this.#store.now()) - stampMs < this.#leastAgeMs;
  }

  /** False when there was no room for it. */
  async #dropEntries(chunks: readonly string[]): Promise<boolean> {
    try {
      await runProtocol(dropIndexEntries(chunks, indexEditor(this.#repository)), this.#store);
      return true;
    } catch (error) {
      if (error instanceof PenstockError && error.code === 'REPO_FULL') return false;
      throw error;
    }
  }
}

/** Rewrites index segments without the chunks that are gone; damaged ones stay as they are. */
export function indexEditor(repository: Repository): IndexEditor {
  const hash = indexHash(repository);
  let id: Buffer | undefined;
  return {
    edit: (segment, isGone) => {
      const bytes = Buffer.from(segment.buffer, segment.byteOffset, segment.byteLength);
      let shape: SegmentShape;
      try {
        shape = checkWholeSegment(bytes, 'an index segment', hash);
      } catch (error) {
        if (error instanceof PenstockError && error.code === 'DAMAGED') return undefined;
        throw error;
      }
      const chunks = readTables(bytes, shape).map((chunk) => chunk.id.toString('hex'));
      const gone = new Set(chunks.filter(isGone));
      if (gone.size === 0) return undefined;
      if (chunks.every((chunk) => gone.has(chunk))) return null;
      id = repository.around.random.bytes(16);
      return mergeSegments(id, [{ shape, bytes }], gone, hash);
    },
    newId: () => must(id, 'an edited segment has an id').toString('hex'),
  };
}
