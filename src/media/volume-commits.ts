/**
 * Which chunks are committed: those whose every record, the last one included, lies before a
 * synchronisation. A chunk may begin on one volume and end on another.
 */
import type { SafeRecord } from './volume-session.ts';

/** Where records of a chunk lie on a volume: between these objects, among others. */
export interface ChunkPlace {
  /** Id of the volume. */
  readonly volume: string;
  readonly firstObject: number;
  readonly endObject: number;
  readonly hint?: number;
}

export interface CommittedChunk {
  readonly stream: string;
  readonly chunk: string;
  readonly records: number;
  readonly bytes: number;
  readonly places: readonly ChunkPlace[];
}

interface OpenChunk {
  records: number;
  bytes: number;
  readonly places: ChunkPlace[];
}

export class VolumeCommits {
  readonly #open = new Map<string, OpenChunk>();

  /** Takes what has become safe on a volume; returns the chunks that are now committed. */
  safe(volume: string, records: readonly SafeRecord[]): CommittedChunk[] {
    const done: CommittedChunk[] = [];
    for (const { record, object, hint } of records) {
      const { stream, chunk } = record;
      // The chunks of different streams may bear the same id where they have none.
      const key = `${stream}${chunk}`;
      const open = this.#open.get(key) ?? { records: 0, bytes: 0, places: [] };
      open.records += 1;
      open.bytes += record.bytes;
      const last = open.places.at(-1);
      if (last?.volume === volume) {
        open.places[open.places.length - 1] = { ...last, endObject: object + 1 };
      } else {
        const more = hint === undefined ? {} : { hint };
        open.places.push({ volume, firstObject: object, endObject: object + 1, ...more });
      }
      if (record.isLast) {
        this.#open.delete(key);
        done.push({ stream, chunk, ...open });
      } else this.#open.set(key, open);
    }
    return done;
  }

  /** Chunks that have begun and not ended. */
  get openCount(): number {
    return this.#open.size;
  }
}
