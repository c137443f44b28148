/**
 * Where a tape stands, as far as that is known, and what is done when a drive says something unexpected: the
 * part of a tape's volume (scsi-volume.ts) that every call goes through.
 *
 * Contract: `object` is where the tape stands while `isKnown`, and where it stood when that was last known
 * otherwise. After an error that leaves it open `isKnown` is false. A reset that comes of a new connection of
 * our own is no change as long as the tape stands where it should; any other is told once, VOLUME_CHANGED.
 */
import { PenstockError } from '../base/errors.ts';
import type { Outcome } from '../scsi/scsi-unit.ts';
import { senseText } from '../scsi/sense.ts';
import type { TapeDrive } from '../scsi/tape-drive.ts';
import type { TapeSteps } from './tape-steps.ts';
import { type VolumeErrorCode, volumeError } from './volume.ts';

export class TapeStand {
  object = 0;
  isKnown = false;
  onMedium = 0;
  atEnd = false;
  earlyWarning = false;
  /** How many objects a command that is lost may have passed. */
  risk = 0;
  /** The last command that might have been lost was a read: nobody has what it read. */
  isReading = false;
  /** A reset or change that was come across, and is to be told. */
  isChangeDue = false;
  readonly #drive: TapeDrive;
  readonly #steps: TapeSteps;
  #generation: number;

  constructor(drive: TapeDrive, steps: TapeSteps) {
    this.#drive = drive;
    this.#steps = steps;
    this.#generation = drive.unit.device.generation;
  }

  /**
   * What is begun, should it be lost.
   *
   * @param objects that it may pass; infinite: it may go anywhere
   */
  venture(objects: number, isReading = false): void {
    this.risk = objects;
    this.isReading = isReading;
  }

  /** Throws for what stands in the way of every command; what else was answered is returned. */
  async run<Answer extends object>(what: string, work: () => Promise<Answer>): Promise<Answer> {
    if (this.isChangeDue) {
      this.isChangeDue = false;
      this.forget();
      this.fail('VOLUME_CHANGED', 'the drive was reset or its medium changed');
    }
    for (let attempt = 0; ; attempt++) {
      const answer = await this.try(work);
      const outcome = outcomeOf(answer);
      if (outcome?.kind !== 'reset' && outcome?.kind !== 'medium-changed') {
        if (outcome !== undefined) this.checkReady(outcome, what);
        return answer;
      }
      // A new connection of our own is told as a reset too. Who knows where it is finds out if it was one.
      if (outcome.kind === 'reset' && attempt === 0 && this.isReconnected()) {
        if (await this.stands()) continue;
      }
      this.forget();
      this.fail('VOLUME_CHANGED', textOf(what, outcome));
    }
  }

  /** Whether the tape stands where it was, after a new connection; sets the drive up again. */
  async stands(): Promise<boolean> {
    const { outcome, changed } = await this.try(() => this.#drive.unit.settle());
    if (changed || outcome.kind !== 'good') return false;
    await this.try(() => this.#drive.configure());
    const wanted = this.object;
    if (!this.#drive.traits.tellsPosition) {
      const { object } = await this.try(() => this.#steps.locate(undefined, wanted));
      this.isKnown = object === wanted;
      return this.isKnown;
    }
    const { position } = await this.try(() => this.#drive.position());
    if (position === undefined) return false;
    const most = this.isKnown ? wanted : wanted + this.risk;
    const isFree = !this.isKnown && this.risk === Number.POSITIVE_INFINITY;
    return isFree || (position.object >= wanted && position.object <= most);
  }

  isReconnected(): boolean {
    const { generation } = this.#drive.unit.device;
    const isNew = generation !== this.#generation;
    this.#generation = generation;
    return isNew;
  }

  forget(): void {
    this.isKnown = false;
    this.object = 0;
    this.onMedium = 0;
    this.atEnd = false;
    this.earlyWarning = false;
  }

  /** A connection that broke, a command that took too long: nobody knows what was done. */
  async try<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof PenstockError) || !thrown.code.startsWith('DEVICE_')) throw thrown;
      this.isKnown = false;
      throw volumeError('VOLUME_IO', this.#drive.name, this.object, thrown.message, {
        cause: thrown,
        hint: thrown.hint,
      });
    }
  }

  checkReady(outcome: Outcome, what: string): void {
    switch (outcome.kind) {
      case 'no-medium':
      case 'not-ready':
      case 'becoming-ready':
        return this.fail('VOLUME_NOT_READY', textOf(what, outcome));
      case 'write-protected':
        return this.fail('VOLUME_PROTECTED', textOf(what, outcome));
      default:
    }
  }

  /** A command that only moves the tape is done, or it failed. */
  checkMotion(outcome: Outcome, what: string): void {
    if (outcome.kind === 'good' || outcome.kind === 'recovered') return;
    this.isKnown = false;
    this.checkReady(outcome, what);
    this.refuse(outcome, what);
  }

  /** As checkMotion, of a step: where a record is damaged the position is known. */
  checkStep(outcome: Outcome, what: string): void {
    if (outcome.kind === 'good' || outcome.kind === 'recovered') return;
    if (outcome.kind === 'medium-error') this.fail('VOLUME_DAMAGED', textOf(what, outcome));
    this.checkMotion(outcome, what);
  }

  refuse(outcome: Outcome, what: string): never {
    return this.fail('VOLUME_IO', textOf(what, outcome));
  }

  fail(code: VolumeErrorCode, text: string): never {
    throw volumeError(code, this.#drive.name, this.object, text);
  }

  /** Nothing is written to a place that is not known. */
  async checkKnown(what: string): Promise<void> {
    if (this.isKnown || this.isChangeDue) return;
    await this.run(what, () => this.#drive.unit.testUnitReady());
    this.fail('VOLUME_IO', `${what}: where the tape stands is not known: ask \`tell\` first`);
  }

  async ensureKnown(what: string): Promise<void> {
    if (!this.isKnown) await this.settlePosition(what);
  }

  moved(object: number, atEnd: boolean): void {
    this.object = object;
    this.isKnown = true;
    this.atEnd = atEnd;
    this.onMedium = object;
    this.earlyWarning = false;
  }

  /** What the drive says; false where it says nothing. */
  async #ask(what: string): Promise<boolean> {
    const goesBack = !this.isKnown && this.isReading;
    const { outcome, position } = await this.run(what, () => this.#drive.position());
    if (position === undefined) {
      if (outcome.kind !== 'not-supported') this.checkMotion(outcome, what);
      return false;
    }
    const wasAt = this.object;
    this.object = position.object;
    this.isKnown = true;
    this.onMedium = position.onMedium ?? this.onMedium;
    this.earlyWarning ||= position.earlyWarning;
    // A read that was lost was carried out: what it read was given to nobody.
    if (!goesBack || position.object !== wasAt + 1) return true;
    const back = await this.run(what, () => this.#drive.space('blocks', -1));
    if (back.kind !== 'file-mark') this.checkMotion(back, what);
    this.object = wasAt;
    return true;
  }

  /** Sees that nobody has moved the tape; a drive that cannot tell is brought back to where it was. */
  async confirm(what: string): Promise<void> {
    const wanted = this.object;
    if (this.#drive.traits.tellsPosition && (await this.#ask(what))) {
      if (this.object === wanted) return;
    } else {
      const { object, stop } = await this.run(what, () => this.#steps.locate(undefined, wanted));
      this.checkMotion(stop, what);
      if (object === wanted) return;
    }
    this.forget();
    this.fail('VOLUME_CHANGED', `${what}: the tape is not where it was left`);
  }

  /** Where the tape stands: what the drive says; where it says nothing, what was counted, or is now. */
  async settlePosition(what: string): Promise<void> {
    if (this.#drive.traits.tellsPosition && (await this.#ask(what))) return;
    if (this.isKnown) return;
    // To where it was: an object more, that a lost command may have written, is found there and not lost.
    const wanted = this.object;
    const { object, stop } = await this.run(what, () => this.#steps.locate(undefined, wanted));
    this.checkMotion(stop, what);
    this.moved(object, object < wanted);
  }
}

/** The outcome in what a step or command answers. */
function outcomeOf(answer: object): Outcome | undefined {
  if ('sense' in answer) return answer as Outcome;
  const { outcome, stop } = answer as { outcome?: Outcome; stop?: Outcome };
  return outcome ?? stop;
}

export function textOf(what: string, { sense }: Outcome): string {
  return sense === undefined ? what : `${what}: ${senseText(sense)}`;
}
