/**
 * What a process knows of the volumes of a repository, and has changed of it.
 *
 * Contract: a change counts here at once, and in the repository after `flush`, where it is made to what
 * the volume's record says by then: others write, release and forget at the same time. What could not
 * be stored is stored by the next flush. Once `flush` has returned, what was written before is on record,
 * or it has failed: nothing that relies on it may be stored then.
 */
import { PenstockError } from '../base/errors.ts';
import type { Repository } from './repository.ts';
import { dropLogs } from './volume-logs.ts';
import {
  addVolume,
  changeVolume,
  dropVolume,
  type KnownVolume,
  listVolumes,
  settled,
  type VolumeChange,
  type VolumeChunk,
} from './volume-records.ts';

interface Pending {
  readonly change: VolumeChange;
  /** Without it something that was written would be lost. */
  readonly isNeeded: boolean;
}

export class KnownVolumes {
  readonly #repository: Repository;
  readonly #volumes = new Map<string, KnownVolume>();
  readonly #pending = new Map<string, Pending[]>();
  /** Of these the repository has no record yet; and the volumes that they were before. */
  readonly #new = new Set<string>();
  readonly #replaced = new Set<string>();
  /** On which volumes each chunk is. */
  readonly #places = new Map<string, Set<string>>();
  /** Flushes and refreshments, one after the other. */
  #last: Promise<void> = Promise.resolve();

  private constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** @param repository over the storage in which the records are */
  static async open(repository: Repository): Promise<KnownVolumes> {
    const known = new KnownVolumes(repository);
    await known.refresh();
    return known;
  }

  get(volume: string): KnownVolume | undefined {
    return this.#volumes.get(volume);
  }
  get all(): readonly KnownVolume[] {
    return [...this.#volumes.values()];
  }
  get hasChunks(): boolean {
    return this.#places.size > 0;
  }
  /** Volumes that have the chunk, all or in part. */
  volumesWith(chunk: string): readonly KnownVolume[] {
    return [...(this.#places.get(chunk) ?? [])].flatMap((id) => this.#volumes.get(id) ?? []);
  }

  /** A medium was labelled; what it was before is forgotten. */
  add(volume: KnownVolume, replaced: string | undefined): void {
    if (replaced !== undefined) {
      this.#volumes.delete(replaced);
      this.#pending.delete(replaced);
      this.#replaced.add(replaced);
    }
    this.#volumes.set(volume.volume, volume);
    this.#new.add(volume.volume);
  }

  change(volume: string, change: VolumeChange): void {
    this.#change(volume, change, false);
  }

  /** A chunk is on the medium of a volume, all or in part. */
  addChunk(volume: string, chunk: VolumeChunk): void {
    const add: VolumeChange = (known) => ({
      ...known,
      objects: Math.max(known.objects, chunk.endObject),
      chunks: [...known.chunks.filter(({ id }) => id !== chunk.id), chunk],
    });
    if (this.#change(volume, add, true)) this.#place(chunk.id, volume);
  }

  /** A chunk is not needed on a volume any more. */
  releaseChunk(volume: string, id: string): void {
    const chunk = this.#volumes.get(volume)?.chunks.find((one) => one.id === id);
    if (chunk === undefined) return;
    const { firstObject } = chunk;
    this.#change(
      volume,
      (known) => settled({ ...known, released: [...(known.released ?? []), { id, firstObject }] }),
      false,
    );
    const places = this.#places.get(id);
    places?.delete(volume);
    if (places?.size === 0) this.#places.delete(id);
  }

  /** Takes in what others have changed. */
  refresh(): Promise<void> {
    return this.#inTurn(() => this.#refresh());
  }

  async #refresh(): Promise<void> {
    const { volumes } = await listVolumes(this.#repository);
    const stored = new Map(volumes.map((volume) => [volume.volume, volume]));
    for (const id of this.#volumes.keys()) {
      const isNeeded = this.#pending.get(id)?.some((one) => one.isNeeded) ?? false;
      if (!stored.has(id) && !this.#new.has(id) && !isNeeded) this.#forget(id);
    }
    for (const [id, volume] of stored) {
      if (!this.#replaced.has(id)) this.#volumes.set(id, this.#withPending(id, volume));
    }
    this.#places.clear();
    for (const [volume, { chunks }] of this.#volumes)
      for (const { id } of chunks) this.#place(id, volume);
  }

  /** Stores what was changed. VOLUME_CHANGED: chunks went to a volume that somebody has relabelled. */
  flush(): Promise<void> {
    return this.#inTurn(() => this.#flush());
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.catch(() => undefined).then(work);
    return this.#last;
  }

  async #flush(): Promise<void> {
    for (const id of [...this.#new]) {
      const volume = this.#volumes.get(id);
      const taken = this.#pending.get(id)?.length ?? 0;
      if (volume !== undefined) await addVolume(this.#repository, volume);
      this.#new.delete(id);
      this.#done(id, taken);
    }
    for (const id of [...this.#replaced]) {
      await dropVolume(this.#repository, id);
      await dropLogs(this.#repository, id);
      this.#replaced.delete(id);
    }
    for (const [id, pending] of [...this.#pending]) await this.#store(id, [...pending]);
  }

  async #store(id: string, changes: readonly Pending[]): Promise<void> {
    const all: VolumeChange = (known) => changes.reduce((now, { change }) => change(now), known);
    const stored = await changeVolume(this.#repository, id, all);
    if (stored !== undefined) {
      this.#done(id, changes.length);
      this.#volumes.set(id, this.#withPending(id, stored));
      return;
    }
    const name = this.#volumes.get(id)?.name ?? id;
    // Those that need it are told of it each time.
    if (!changes.some(({ isNeeded }) => isNeeded)) this.#forget(id);
    else
      throw new PenstockError(
        'VOLUME_CHANGED',
        `volume ${name} was forgotten or labelled anew while chunks were written to it`,
        { subject: name, hint: 'run the command again: it stores these chunks anew' },
      );
  }

  #done(id: string, count: number): void {
    const pending = this.#pending.get(id);
    pending?.splice(0, count);
    if (pending?.length === 0) this.#pending.delete(id);
  }

  #withPending(id: string, stored: KnownVolume): KnownVolume {
    return applied(this.#pending.get(id) ?? [], stored);
  }

  #change(volume: string, change: VolumeChange, isNeeded: boolean): boolean {
    const known = this.#volumes.get(volume);
    if (known === undefined) return false;
    this.#volumes.set(volume, settled(change(known)));
    const pending = this.#pending.get(volume);
    if (pending === undefined) this.#pending.set(volume, [{ change, isNeeded }]);
    else pending.push({ change, isNeeded });
    return true;
  }

  #forget(id: string): void {
    this.#volumes.delete(id);
    this.#pending.delete(id);
  }

  #place(chunk: string, volume: string): void {
    const places = this.#places.get(chunk);
    if (places === undefined) this.#places.set(chunk, new Set([volume]));
    else places.add(volume);
  }
}

const applied = (pending: readonly Pending[], volume: KnownVolume): KnownVolume =>
  settled(pending.reduce((known, { change }) => change(known), volume));
