/**
 * The drives of a repository with pools of volumes: a thread (media/drive-link.ts) for each volume that one
 * command writes at a time, and which volume each of them writes.
 *
 * Contract: the first drive serves whoever reads, and whoever writes one volume at a time. Each has a session
 * and a volume of its own. A stream goes to one of them wholly: to that which has the fewest when it is opened.
 * Volumes are chosen for one drive after the other, and none is offered that another one has.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { DriveLink } from '../media/drive-link.ts';
import type { DriveReport, ReadableVolume, WritableVolume } from '../media/drive-messages.ts';
import { DriveUsers } from '../media/drive-users.ts';
import type { CommittedChunk } from '../media/volume-commits.ts';
import type { KnownVolumes } from './known-volumes.ts';
import type { Pool } from './pools.ts';
import type { Repository } from './repository.ts';
import {
  type ChosenVolume,
  checkFolder,
  couldGrow,
  freshVolumes,
  isThere,
  knownLabel,
  leastObjects,
} from './volume-choice.ts';
import { drivesAtOnce, drivesOf, mediumOf } from './volume-medium.ts';
import type { KnownVolume } from './volume-records.ts';

export interface PoolSession {
  readonly id: string;
  readonly writer: string;
  /** How many streams it will have: no more volumes are written at once. */
  readonly streams?: number;
}

interface PoolDrive {
  readonly link: DriveLink;
  /** What may be labelled next. */
  readonly fresh: Map<string, ChosenVolume>;
  /** The volume that it writes. */
  volume: string | undefined;
  isWriting: boolean;
}

export class PoolDrives {
  /** Over the root store: for records of volumes. */
  readonly #repository: Repository;
  readonly #pools: readonly Pool[];
  readonly #target: Pool | undefined;
  readonly #volumes: KnownVolumes;
  readonly #readable: () => Promise<readonly ReadableVolume[]>;
  readonly #drives: PoolDrive[] = [];
  readonly #streams = new Map<string, PoolDrive>();
  /** Which of them uses which of these tape drives: they are threads of their own. */
  readonly #devices: readonly string[];
  readonly #users: SharedArrayBuffer;
  /** What was told: each thread tells of the drives that it passes over. */
  readonly #passedOver = new Set<string>();
  /** The choices of volumes, one after the other. */
  #choosing: Promise<unknown> = Promise.resolve();

  /** @param readable what each drive is told that it may have to read */
  constructor(
    repository: Repository,
    pools: readonly Pool[],
    target: Pool | undefined,
    volumes: KnownVolumes,
    readable: () => Promise<readonly ReadableVolume[]>,
  ) {
    this.#repository = repository;
    this.#pools = pools;
    this.#target = target;
    this.#volumes = volumes;
    this.#readable = readable;
    this.#devices = pools.flatMap((pool) => drivesOf(pool).map(({ device }) => device));
    this.#users = DriveUsers.words(this.#devices);
  }

  /** The one that reads; it is made when it is asked for. */
  get first(): DriveLink {
    return this.#at(0).link;
  }
  /** Those that were made. */
  get all(): readonly DriveLink[] {
    return this.#drives.map(({ link }) => link);
  }

  /** Begins a session on a volume of each drive. POOL_EXHAUSTED, VOLUME_…: not one can be written. */
  async begin(session: PoolSession): Promise<void> {
    const pool = must(this.#target, 'a pool that is written');
    await this.#begin(this.#at(0), pool, session);
    const count = Math.min(drivesAtOnce(pool), session.streams ?? 1, LIMITS.poolDrivesMax);
    for (let i = 1; i < count; i++) {
      const drive = this.#at(i);
      try {
        // Nobody is asked for a tape for it as long as there is one to write.
        drive.link.askForTapes(false);
        await this.#begin(drive, pool, session);
        drive.link.askForTapes(true);
      } catch (error) {
        // It is written to those that there are.
        if (!(error instanceof PenstockError) || !NO_FURTHER_VOLUME.has(error.code)) throw error;
        this.#drives.splice(i);
        await drive.link.close();
        return;
      }
    }
  }

  async #begin(drive: PoolDrive, pool: Pool, { id, writer }: PoolSession): Promise<void> {
    const { markBytes, logPlace, logEntries, syncBytes, bufferBytes } = pool;
    const startPercent = pool.startPercent ?? (pool.kind === 'tape' ? LIMITS.tapeStartPercent : 0);
    const volumes = await this.#choose(drive, undefined);
    const first = volumes[0] && this.#volumes.get(volumes[0].label.volume);
    const any = await mediumOf(this.#repository, pool, '');
    await drive.link.write(
      {
        ...{ id: first?.nextLogId ?? id, writer, markBytes, logPlace },
        logPerRecord: logEntries === 'record',
        ...(syncBytes === undefined ? {} : { syncBytes }),
        ...(bufferBytes === undefined ? {} : { bufferBytes }),
        ...(any.kind === 'tape' ? { tape: any } : {}),
        startLevel: Math.min(1, startPercent / 100),
      },
      volumes,
    );
    drive.isWriting = true;
  }

  /** Ends the sessions: what each drive has done, or why it could not end. */
  async finish(): Promise<readonly PromiseSettledResult<DriveReport>[]> {
    const writing = this.#drives.filter(({ isWriting }) => isWriting);
    for (const drive of writing) drive.isWriting = false;
    return await Promise.allSettled(writing.map(({ link }) => link.finish()));
  }

  /** Others may write to the volumes. */
  async release(): Promise<void> {
    for (const drive of this.#drives) {
      await drive.link.release();
      drive.volume = undefined;
    }
  }

  /** Waits until its drive has buffers for one more stream. */
  async openStream(id: string): Promise<void> {
    const load = (drive: PoolDrive): number =>
      [...this.#streams.values()].filter((one) => one === drive).length;
    const writing = this.#drives.filter(({ isWriting }) => isWriting);
    const drive = writing.reduce<PoolDrive>(
      (least, one) => (load(one) < load(least) ? one : least),
      writing[0] ?? this.#at(0),
    );
    this.#streams.set(id, drive);
    await drive.link.openStream(id);
  }
  /** Gives them back: nothing more comes of it. */
  async endStream(id: string): Promise<void> {
    const drive = this.#streams.get(id);
    this.#streams.delete(id);
    await drive?.link.endStream(id);
  }
  /** The drive to which a stream goes. */
  ofStream(id: string | undefined): DriveLink {
    return (id === undefined ? undefined : this.#streams.get(id)?.link) ?? this.first;
  }

  /** Resolves when all that the drives have told is known. */
  async barrier(): Promise<void> {
    await Promise.all(this.all.map((link) => link.barrier()));
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map((link) => link.close()));
  }

  #at(index: number): PoolDrive {
    const known = this.#drives[index];
    if (known !== undefined) return known;
    const recordBytes = Math.max(...this.#pools.map(({ blockBytes }) => blockBytes));
    const link = new DriveLink(
      recordBytes,
      {
        nextVolumes: (full) => this.#choose(drive, full),
        mayReplace: (volume, isEmpty) => this.#mayReplace(volume, isEmpty),
        onProtected: (volume) => {
          const known = this.#volumes.get(volume);
          if (known !== undefined) this.#setState(known, 'read-only');
        },
        onPassedOver: (error) => this.#tellPassedOver(error),
        onLoaded: (volume, replaced) => this.#loaded(drive, volume, replaced),
        onCommitted: (chunk) => this.#committed(chunk),
      },
      this.#repository.around.mounts,
      this.#target?.bufferBytes,
      { words: this.#users, devices: this.#devices, self: index + 1 },
    );
    const drive: PoolDrive = { link, fresh: new Map(), volume: undefined, isWriting: false };
    this.#drives[index] = drive;
    // What cannot be told is an error of whoever reads.
    void this.#readable()
      .then((volumes) => link.read(volumes))
      .catch(() => undefined);
    return drive;
  }

  #choose(drive: PoolDrive, full: string | undefined): Promise<readonly WritableVolume[]> {
    const choice = this.#choosing.then(() => this.#chooseNow(drive, full));
    this.#choosing = choice.catch(() => undefined);
    return choice;
  }

  /** Volumes that the drive may write, the best first. */
  async #chooseNow(drive: PoolDrive, full: string | undefined): Promise<readonly WritableVolume[]> {
    const pool = must(this.#target, 'a pool that is written');
    // What is on a disk that is not mounted is not missing.
    checkFolder(pool);
    if (full !== undefined) this.#volumes.change(full, (known) => ({ ...known, state: 'full' }));
    drive.volume = undefined;
    drive.fresh.clear();
    await this.#volumes.refresh();
    const own = this.#volumes.all.filter((one) => one.pool === pool.id);
    const others = this.#drives.filter((one) => one !== drive);
    const taken = new Set(others.map(({ volume }) => volume));
    const volumes: WritableVolume[] = [];
    const found: WritableVolume[] = [];
    const readOnly: WritableVolume[] = [];
    for (const volume of own) {
      if (taken.has(volume.volume)) continue;
      const medium = await mediumOf(this.#repository, pool, volume.name);
      // At the beginning only: what has become full since is not tried again.
      const isTried = full === undefined && volume.state === 'full';
      const state = isTried && couldGrow(medium, pool.blockBytes) ? 'appendable' : volume.state;
      if (state === 'full' || state === 'expired') continue;
      const label = knownLabel(this.#repository, pool, volume);
      const writable = { medium, label, leastObjects: leastObjects(volume) };
      if (!(await isThere(medium))) this.#setState(volume, 'missing');
      else if (state === 'read-only') readOnly.push(writable);
      else {
        this.#setState(volume, 'appendable');
        // One that was away has come back.
        (state === 'missing' ? found : volumes).push(writable);
      }
    }
    const offered = others.flatMap((one) => [...one.fresh.values()].map(({ record }) => record));
    for (const fresh of await freshVolumes(this.#repository, pool, own, offered))
      drive.fresh.set(fresh.record.volume, fresh);
    await this.barrier();
    await this.#volumes.flush();
    const fresh = [...drive.fresh.values()].map(({ writable }) => writable);
    // Whether a tape may be written again says only the drive that has it.
    return pool.device === undefined
      ? [...volumes, ...found, ...readOnly, ...fresh]
      : [...volumes, ...found, ...fresh, ...readOnly];
  }
  #setState({ volume, state: before }: KnownVolume, state: KnownVolume['state']): void {
    if (state !== before) this.#volumes.change(volume, (known) => ({ ...known, state }));
  }

  /**
   * Whether a volume of this repository, which a drive holds for us alone, may be labelled anew: when
   * nothing on it is needed by now, or it is not known and has nothing but a label.
   */
  async #mayReplace(volume: string, isEmpty: boolean): Promise<boolean> {
    await this.#volumes.refresh();
    const known = this.#volumes.get(volume);
    return known === undefined ? isEmpty : known.state === 'expired';
  }

  #tellPassedOver(error: PenstockError): void {
    if (this.#passedOver.has(error.message)) return;
    this.#passedOver.add(error.message);
    this.#repository.around.onPassedOver?.(error);
  }

  /** A volume is written: of one with a new label the repository is to know. */
  #loaded(drive: PoolDrive, volume: string, replaced: string | undefined): void {
    const fresh = drive.fresh.get(volume);
    if (fresh !== undefined) this.#volumes.add(fresh.record, replaced);
    drive.fresh.clear();
    drive.volume = volume;
    const known = this.#volumes.get(volume);
    if (known !== undefined) this.#setState(known, 'appendable');
  }

  #committed({ chunk, stream, bytes, places }: CommittedChunk): void {
    for (const { volume, firstObject, endObject } of places) {
      this.#volumes.addChunk(volume, {
        id: chunk,
        bytes: bytes + TRAILER_BYTES,
        committedMs: this.#repository.around.clock.nowMs(),
        stream,
        firstObject,
        endObject,
      });
    }
  }
}

/** Errors that say that there is nothing to write for one drive more. */
const NO_FURTHER_VOLUME: ReadonlySet<string> = new Set([
  'POOL_EXHAUSTED',
  'VOLUME_FOREIGN',
  'VOLUME_FULL',
  'VOLUME_NOT_READY',
  'VOLUME_PROTECTED',
  'LIBRARY_MISSING',
]);
