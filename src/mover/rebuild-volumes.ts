/**
 * What a rebuild (rebuild.ts) does about chunks on volumes: volumes that are not there cost one attempt, and
 * chunks of manifests come back into the repository's own storage, where archives are browsed without a volume.
 */
import type { PenstockError } from '../base/errors.ts';
import { toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ChunkMedia, openChunkMedia } from '../format/chunk-media.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';
import { copyChunk } from '../media/volume-chunks.ts';
import type { ChunkFacts } from './check-chunk.ts';
import { inRoot } from './chunk-target.ts';
import type { PooledStore } from './pooled-store.ts';
import type { Repository } from './repository.ts';

/** The medium is not there, or another one is in its place. */
const AWAY: ReadonlySet<PenstockError['code']> = new Set([
  'VOLUME_NOT_READY',
  'VOLUME_FOREIGN',
  'LIBRARY_MISSING',
]);

export class RebuildVolumes {
  readonly #media: ChunkMedia;
  readonly #rootMedia: ChunkMedia | undefined;
  /** What the repository's own storage has. */
  readonly #root: ReadonlySet<string>;
  /** On which volumes each chunk is that is on volumes only. */
  readonly #places = new Map<string, string[]>();
  readonly #names = new Map<string, string>();
  readonly #away = new Set<string>();
  /** Before somebody was asked for them. */
  readonly #wereAway = new Set<string>();
  /** Chunks that were not looked at, and are not in the index. */
  readonly #passed = new Set<string>();
  readonly #pooled: PooledStore | undefined;
  /** For the longest record. */
  #view: Buffer | undefined;

  private constructor(
    media: ChunkMedia,
    root: ReadonlySet<string>,
    rootMedia: ChunkMedia | undefined,
    pooled: PooledStore | undefined,
  ) {
    this.#media = media;
    this.#root = root;
    this.#rootMedia = rootMedia;
    this.#pooled = pooled;
    for (const { volume, name, chunks } of pooled?.volumes ?? []) {
      this.#names.set(volume, name);
      for (const { id } of chunks) {
        if (root.has(id)) continue;
        this.#places.set(id, [...(this.#places.get(id) ?? []), volume]);
      }
    }
  }

  /** Nobody is asked for volumes that are not there until `askForVolumes`. */
  static async open({ pooled }: Repository, media: ChunkMedia): Promise<RebuildVolumes> {
    if (pooled === undefined) return new RebuildVolumes(media, new Set(), undefined, undefined);
    const rootMedia = await openChunkMedia(pooled.rootMedia);
    pooled.askForTapes(false);
    return new RebuildVolumes(media, await pooled.rootChunks(), rootMedia, pooled);
  }

  /**
   * From here on somebody is asked for volumes that are not there.
   *
   * @returns the chunks on them that the index does not have, which are worth a second look
   */
  askForVolumes(): readonly string[] {
    if (this.#pooled?.askForTapes(true) !== true) return [];
    const again = [...this.#passed];
    for (const volume of this.#away) this.#wereAway.add(volume);
    this.#passed.clear();
    this.#away.clear();
    return again;
  }

  /** One of its volumes is known not to be there. */
  isAway(chunk: string): boolean {
    return this.#places.get(chunk)?.some((volume) => this.#away.has(volume)) ?? false;
  }

  /** Whether a chunk could not be read because its volume is not there. */
  tellsAway({ id, error }: ChunkFacts): boolean {
    const places = this.#places.get(id);
    if (places === undefined || error === undefined || !AWAY.has(error.code)) return false;
    const [only, ...others] = places;
    // Of several it is not said which one it was.
    if (only !== undefined && others.length === 0) this.#away.add(only);
    return true;
  }

  /** A chunk that is not looked at. */
  passed(chunk: string, isIndexed: boolean): void {
    if (!isIndexed) this.#passed.add(chunk);
  }

  #namesOf(volumes: Iterable<string>): string {
    const names = [...volumes].map((volume) => this.#names.get(volume) ?? volume);
    return names.toSorted().join(' and ');
  }

  /** Copies a chunk of manifests that is on volumes only; says what went wrong. */
  async copyManifest({ id, contentClass, header }: ChunkFacts): Promise<string | undefined> {
    const kind = header?.contentClass ?? contentClass;
    const root = this.#rootMedia;
    if (root === undefined || this.#root.has(id) || kind !== CONTENT_CLASS.manifest)
      return undefined;
    try {
      const source = this.#media.open(id);
      const target = inRoot(root, id, CONTENT_CLASS.manifest);
      try {
        this.#view ??= Buffer.alloc(LIMITS.tapeImageRecordBytesMax);
        await copyChunk(id, source, target, this.#view);
        await target.end();
      } catch (error) {
        await target.discard();
        throw error;
      } finally {
        source.close();
      }
    } catch (error) {
      const { code, message } = toPenstockError(error);
      if (code !== 'DAMAGED' && code !== 'VOLUME_DAMAGED') throw error;
      return `chunk ${id} stays on its volume only: ${message}`;
    }
    return undefined;
  }

  /** The volumes that were not there. */
  away(): string[] {
    const volumes = [...new Set([...this.#away, ...this.#wereAway])];
    return volumes.map((volume) => this.#names.get(volume) ?? volume).toSorted();
  }

  /** What cannot be known because volumes are not there. */
  problems(): string[] {
    const byVolumes = new Map<string, number>();
    for (const chunk of this.#passed) {
      const names = this.#namesOf(this.#places.get(chunk) ?? []);
      byVolumes.set(names, (byVolumes.get(names) ?? 0) + 1);
    }
    return [...byVolumes].map(([names, count]) => {
      const several = names.includes(' and ') ? 'not all there at once' : 'not there';
      return `volume ${names}: ${several}, and ${count} chunk(s) on it are not in the index`;
    });
  }

  close(): void {
    this.#rootMedia?.close();
  }
}
