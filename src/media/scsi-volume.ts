/**
 * A tape in a drive, as a `Volume` (volume.ts).
 *
 * Contract: that of volume.ts. What a drive says is believed rather than what was counted here; a drive that
 * cannot tell its position is counted along (tape-steps.ts). After a connection broke the next call makes it
 * again: reading goes on where it was, nothing is written before `tell`, `locate`, `rewind` or `spaceEnd`
 * has settled where the tape stands. A reset that another machine or the power made is told once.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ScsiDevice } from '../scsi/scsi-device.ts';
import type { Outcome } from '../scsi/scsi-unit.ts';
import { TapeDrive } from '../scsi/tape-drive.ts';
import { TapeStand, textOf } from './tape-stand.ts';
import { countedOf, type Step, TapeSteps } from './tape-steps.ts';
import {
  checkRecordBytes,
  type Spaced,
  type Volume,
  type VolumeLimits,
  type VolumePosition,
  type VolumeRead,
  type VolumeStatus,
  volumeError,
} from './volume.ts';

/** @throws PenstockError DEVICE_* where the drive cannot be reached or is none */
export async function openScsiVolume(device: ScsiDevice): Promise<Volume> {
  const drive = await TapeDrive.open(device);
  // What happened before we came concerns nobody.
  const { outcome } = await drive.unit.settle();
  if (outcome.kind === 'good') await drive.configure();
  const { bytesMin, bytesMax } = await drive.blockLimits();
  const volume = new ScsiVolume(drive, { recordBytesMin: bytesMin, recordBytesMax: bytesMax });
  if (outcome.kind === 'good') await volume.tell();
  return volume;
}

class ScsiVolume implements Volume {
  readonly name: string;
  readonly limits: VolumeLimits;
  readonly #drive: TapeDrive;
  readonly #steps: TapeSteps;
  readonly #stand: TapeStand;
  /** The connection over which others are kept from using the drive and taking its tape out; 0: none. */
  #heldOver = 0;

  constructor(drive: TapeDrive, limits: VolumeLimits) {
    this.name = drive.name;
    this.limits = limits;
    this.#drive = drive;
    this.#steps = new TapeSteps(drive);
    this.#stand = new TapeStand(drive, this.#steps);
  }

  async status(): Promise<VolumeStatus> {
    const { outcome, changed, reset } = await this.#stand.try(() => this.#drive.unit.settle());
    if (changed || (reset && !this.#stand.isReconnected())) this.#stand.isChangeDue = true;
    if (changed || reset) this.#stand.isKnown = false;
    const loaded = outcome.kind === 'good';
    const { mode } = await this.#stand.try(() => this.#drive.mode());
    const capacityBytes = loaded
      ? await this.#stand.try(() => this.#drive.capacityBytes())
      : undefined;
    return {
      loaded,
      writeProtected: mode?.writeProtected ?? false,
      ...(capacityBytes === undefined ? {} : { capacityBytes }),
    };
  }

  async load(): Promise<void> {
    this.#stand.isChangeDue = false;
    await this.#stand.try(() => this.#drive.unit.settle());
    const outcome = await this.#stand.try(() => this.#drive.load());
    // A drive that loads by itself need not know the command.
    if (outcome.kind !== 'not-supported') this.#stand.checkMotion(outcome, 'LOAD');
    await this.#waitReady();
    await this.#stand.try(() => this.#drive.configure());
    await this.rewind();
  }

  async unload(): Promise<void> {
    if (this.#heldOver !== 0) {
      await this.#stand.run('UNLOAD', () => this.#drive.preventRemoval(false));
      this.#heldOver = 0;
    }
    this.#stand.venture(Number.POSITIVE_INFINITY);
    const outcome = await this.#stand.run('UNLOAD', () => this.#drive.unload());
    this.#stand.checkMotion(outcome, 'UNLOAD');
    this.#stand.isKnown = false;
    this.#stand.object = 0;
  }

  async tell(): Promise<VolumePosition> {
    await this.#stand.settlePosition('asking for the position');
    return {
      object: this.#stand.object,
      onMedium: Math.min(this.#stand.object, this.#stand.onMedium),
      atBeginning: this.#stand.object === 0,
      atEnd: this.#stand.atEnd,
      earlyWarning: this.#stand.earlyWarning,
    };
  }

  async rewind(): Promise<void> {
    this.#stand.venture(Number.POSITIVE_INFINITY);
    this.#stand.checkMotion(await this.#stand.run('REWIND', () => this.#drive.rewind()), 'REWIND');
    this.#stand.moved(0, false);
  }

  async locate(object: number): Promise<void> {
    this.#stand.venture(Number.POSITIVE_INFINITY);
    if (this.#drive.traits.locates) {
      const outcome = await this.#stand.run('LOCATE', () => this.#drive.locate(object));
      if (outcome.kind === 'good' || outcome.kind === 'recovered') {
        return this.#stand.moved(object, false);
      }
      if (outcome.kind !== 'not-supported') return await this.#missed(object, outcome);
    }
    const from = this.#stand.isKnown ? this.#stand.object : undefined;
    const { object: reached, stop } = await this.#stand.run('SPACE', () =>
      this.#steps.locate(from, object),
    );
    this.#stand.checkMotion(stop, 'SPACE');
    this.#stand.moved(reached, reached < object);
    if (reached < object) this.#stand.fail('VOLUME_POSITION', `there is no object ${object}`);
  }

  /** A LOCATE that did not come there. */
  async #missed(object: number, outcome: Outcome): Promise<void> {
    this.#stand.isKnown = false;
    if (outcome.kind !== 'end-of-data' && outcome.kind !== 'end-of-medium') {
      this.#stand.checkMotion(outcome, 'LOCATE');
    }
    await this.spaceEnd();
    this.#stand.fail('VOLUME_POSITION', `there is no object ${object}`);
  }

  async spaceRecords(count: number): Promise<Spaced> {
    return await this.#space('blocks', count);
  }

  async spaceMarks(count: number): Promise<Spaced> {
    return await this.#space('marks', count);
  }

  async #space(what: 'blocks' | 'marks', count: number): Promise<Spaced> {
    if (count === 0) return { count: 0, stop: 'done' };
    await this.#stand.ensureKnown('spacing');
    const before = this.#stand.object;
    this.#stand.venture(Number.POSITIVE_INFINITY);
    if (!this.#drive.traits.tellsPosition) {
      const stepped = await this.#stand.run('SPACE', () => this.#steps.space(before, what, count));
      this.#stand.moved(stepped.object, stepped.spaced.stop === 'end');
      this.#stand.checkStep(stepped.outcome, 'SPACE');
      return stepped.spaced;
    }
    const outcome = await this.#stand.run('SPACE', () => this.#drive.space(what, count));
    this.#stand.isKnown = false;
    await this.#stand.settlePosition('spacing');
    const spaced = countedOf(what, count, outcome, this.#stand.object - before);
    if (spaced === undefined) this.#stand.checkStep(outcome, 'SPACE');
    this.#stand.atEnd = spaced?.stop === 'end';
    return spaced ?? { count: 0, stop: 'done' };
  }

  async spaceEnd(): Promise<void> {
    this.#stand.venture(Number.POSITIVE_INFINITY);
    if (!this.#drive.traits.tellsPosition) {
      await this.#stand.ensureKnown('spacing');
      const from = this.#stand.object;
      const { object, outcome } = await this.#stand.run('SPACE', () => this.#steps.end(from));
      this.#stand.moved(object, true);
      return this.#stand.checkStep(outcome, 'SPACE');
    }
    const outcome = await this.#stand.run('SPACE', () => this.#drive.space('endOfData', 0));
    if (outcome.kind !== 'end-of-data') this.#stand.checkMotion(outcome, 'SPACE');
    this.#stand.isKnown = false;
    await this.#stand.settlePosition('spacing');
    this.#stand.atEnd = true;
  }

  async read(into: Uint8Array): Promise<VolumeRead> {
    await this.#stand.ensureKnown('reading');
    const before = this.#stand.object;
    const got = await this.#readOnce(into).catch(async (error) => {
      if ((error.cause as PenstockError | undefined)?.code !== 'DEVICE_LOST') throw error;
      // Reading changes nothing: go back to where it was, and once more.
      await this.locate(before);
      return await this.#readOnce(into);
    });
    switch (got.kind) {
      case 'record':
        this.#stand.object += 1;
        this.#stand.atEnd = false;
        return { kind: 'record', bytes: got.bytes };
      case 'mark':
        this.#stand.object += 1;
        this.#stand.atEnd = false;
        return { kind: 'mark' };
      case 'end':
        this.#stand.atEnd = true;
        return { kind: 'end' };
      default:
        return await this.#unreadable(got.outcome);
    }
  }

  #readOnce(into: Uint8Array): Promise<Step> {
    this.#stand.venture(1, true);
    return this.#stand.run('READ', () => this.#steps.read(into));
  }

  /** The record cannot be read: go behind it, then say so. */
  async #unreadable(outcome: Outcome): Promise<never> {
    if (outcome.kind !== 'medium-error') this.#stand.refuse(outcome, 'READ');
    const damaged = this.#stand.object;
    this.#stand.isKnown = false;
    await this.locate(damaged + 1);
    throw volumeError('VOLUME_DAMAGED', this.name, damaged, textOf('READ', outcome));
  }

  async append(record: Uint8Array): Promise<boolean> {
    checkRecordBytes(this, record.length, this.#stand.object);
    await this.#prepare('WRITE');
    this.#stand.venture(1);
    const outcome = await this.#write('WRITE', () => this.#drive.write(record));
    return await this.#written(outcome, 'WRITE', 1, record.length);
  }

  async writeMarks(count: number): Promise<boolean> {
    await this.#prepare('WRITE FILEMARKS');
    this.#stand.venture(count);
    const outcome = await this.#write('WRITE FILEMARKS', () => this.#drive.writeMarks(count));
    const warned = await this.#written(outcome, 'WRITE FILEMARKS', count, count);
    this.#stand.onMedium = this.#stand.object;
    return warned;
  }

  async synchronise(): Promise<void> {
    await this.#prepare('synchronising');
    this.#stand.venture(0);
    const outcome = await this.#write('synchronising', () => this.#drive.writeMarks(0));
    await this.#written(outcome, 'synchronising', 0, 0);
    this.#stand.onMedium = this.#stand.object;
  }

  async erase(): Promise<void> {
    await this.#prepare('ERASE');
    this.#stand.venture(0);
    const outcome = await this.#write('ERASE', () => this.#drive.erase());
    if (outcome.kind === 'not-supported') {
      const { writeProtected } = await this.status();
      if (writeProtected)
        this.#stand.fail('VOLUME_PROTECTED', 'ERASE: the medium is write-protected');
      this.#stand.fail('VOLUME_IO', 'the drive does not know ERASE: write to it instead');
    }
    await this.#written(outcome, 'ERASE', 0, 0);
  }

  async reserve(): Promise<void> {
    await this.#stand.try(() => this.#drive.unit.device.connect());
    await this.#ask('RESERVE', () => this.#drive.reserve());
  }

  async close(): Promise<void> {
    this.#stand.isKnown = false;
    await this.#drive.unit.device.close();
  }

  // What answers mean.

  /**
   * Makes of the answer to a writing command what the contract wants.
   *
   * @param objects that it writes
   * @param units that the residue is counted in: bytes or marks
   */
  async #written(outcome: Outcome, what: string, objects: number, units: number): Promise<boolean> {
    const { kind, sense } = outcome;
    const warns = kind === 'early-warning' || kind === 'end-of-medium';
    const left = warns ? (sense?.information ?? 0) : 0;
    const isDone =
      kind === 'good' || kind === 'recovered' || (warns && (left === 0 || units === 0));
    // A command that is told something of an earlier one was itself not carried out.
    if (isDone && sense?.deferred !== true) {
      this.#stand.object += objects;
      this.#stand.atEnd = true;
      this.#stand.earlyWarning ||= warns;
      return this.#stand.earlyWarning;
    }
    const counted = this.#stand.object;
    this.#stand.isKnown = false;
    const text = sense?.deferred ? `${what}, after records were taken` : what;
    if (kind !== 'overflow' && !warns) this.#stand.refuse(outcome, text);
    await this.#stand.settlePosition(what);
    this.#stand.earlyWarning = true;
    // Of what the drive had taken some is gone: nothing counts as written before somebody has looked.
    if (this.#stand.object < counted) this.#stand.isKnown = false;
    return this.#stand.fail('VOLUME_FULL', textOf(text, outcome));
  }

  /** Nothing is written to a place that is not known, nor to a tape that others may move or take out. */
  async #prepare(what: string): Promise<void> {
    await this.#stand.checkKnown(what);
    const { device } = this.#drive.unit;
    // A new connection is made here, and never with the command that writes.
    await this.#stand.try(() => device.connect());
    while (this.#heldOver !== device.generation) {
      const { generation } = device;
      await this.#hold(what);
      this.#heldOver = generation;
    }
  }

  /** From here on the drive is ours alone; before, somebody else may have moved the tape. */
  async #hold(what: string): Promise<void> {
    if (await this.#ask(what, () => this.#drive.reserve())) await this.#stand.confirm(what);
    await this.#ask(what, () => this.#drive.preventRemoval(true));
  }

  /** False where the drive does not know the command: then it has nobody else to keep out, or no way to. */
  async #ask(what: string, work: () => Promise<Outcome>): Promise<boolean> {
    const outcome = await this.#stand.run(what, work);
    if (outcome.kind === 'not-supported' || outcome.kind === 'illegal-request') return false;
    this.#stand.checkMotion(outcome, what);
    return true;
  }

  async #write(what: string, work: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await this.#stand.run(what, work);
    } catch (thrown) {
      this.#stand.isKnown = false;
      throw thrown;
    }
  }

  async #waitReady(): Promise<void> {
    for (let waitedMs = 0; ; waitedMs += LIMITS.scsiReadyPollMs) {
      const { outcome } = await this.#stand.try(() => this.#drive.unit.settle());
      if (outcome.kind === 'good') return;
      if (outcome.kind !== 'becoming-ready' || waitedMs >= LIMITS.scsiReadyMs) {
        this.#stand.fail('VOLUME_NOT_READY', textOf('LOAD', outcome));
      }
      await pause(LIMITS.scsiReadyPollMs);
    }
  }
}
