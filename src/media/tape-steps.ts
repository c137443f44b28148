/**
 * What takes a tape drive several commands: reading a record of unknown length, and, for drives that cannot
 * tell or find positions, counting along.
 *
 * Contract: no memory of positions: each is given and returned. An outcome that stands in the way (a reset,
 * no medium, damage) is returned at once, with how far it came.
 *
 * Counting along knows two kinds of drives: by the standard, SPACE over blocks stops behind a mark and says
 * how many were left; tgt passes marks and counts them. Either way it is known how many *objects* were
 * passed. What is at the end of data is only seen by reading.
 */
import type { Outcome } from '../scsi/scsi-unit.ts';
import { TRANSFER_BYTES_MAX } from '../scsi/tape-commands.ts';
import type { TapeDrive } from '../scsi/tape-drive.ts';
import type { Spaced } from './volume.ts';

export type Step =
  | { readonly kind: 'record'; readonly bytes: number; readonly outcome?: undefined }
  | { readonly kind: 'mark' | 'end'; readonly outcome?: undefined }
  | { readonly kind: 'other'; readonly outcome: Outcome };

interface Passed {
  readonly isMark: boolean;
  readonly end: boolean;
  readonly outcome: Outcome | undefined;
}

const GOOD: Outcome = { kind: 'good', sense: undefined, received: 0, residual: 0 };
/** The most that one SPACE is given. */
const SPACE_MAX = 2 ** 23 - 1;

export class TapeSteps {
  readonly #drive: TapeDrive;
  #memory: Buffer = Buffer.alloc(64);
  /** What records had lately: asked for first, where it must be right. */
  #usualBytes = 64;

  constructor(drive: TapeDrive) {
    this.#drive = drive;
  }

  /** Reads the next object; of a longer record the beginning. */
  async read(into: Uint8Array): Promise<Step> {
    const { garblesShortReads } = this.#drive.traits;
    if (!garblesShortReads && into.length > 0) {
      return await this.#readInto(into.subarray(0, TRANSFER_BYTES_MAX), into);
    }
    // Bytes that do not belong there may come: never into the caller's memory.
    const bytes = Math.max(1, Math.min(this.#usualBytes, into.length));
    return await this.#readInto(this.#memoryOf(bytes), into);
  }

  async #readInto(view: Uint8Array, into: Uint8Array): Promise<Step> {
    const outcome = await this.#drive.read(view);
    const { kind, sense, received } = outcome;
    switch (kind) {
      case 'good':
      case 'recovered':
        return this.#taken(view, received, into);
      case 'file-mark':
        return { kind: 'mark' };
      case 'end-of-data':
      case 'end-of-medium':
        return { kind: 'end' };
      case 'incorrect-length':
        break;
      default:
        return { kind: 'other', outcome };
    }
    // A drive that does not say by how much the length was wrong: only of a shorter record is it known.
    if (sense?.information === undefined && received >= view.length)
      return await this.#readLonger(2 * view.length, into);
    const length = sense?.information === undefined ? received : view.length - sense.information;
    const isShort = length > 0 && length <= view.length;
    if (isShort && received === length && !this.#drive.traits.garblesShortReads) {
      return this.#taken(view, length, into);
    }
    if (length > view.length && view === into && received === into.length) {
      return { kind: 'record', bytes: length };
    }
    if (length <= 0 || length > TRANSFER_BYTES_MAX) return { kind: 'other', outcome };
    return await this.#readAgain(length, into);
  }

  /** The record is longer than what was asked for, by how much nobody knows: more and more is. */
  async #readLonger(bytes: number, into: Uint8Array): Promise<Step> {
    const back = await this.#drive.space('blocks', -1);
    if (back.kind !== 'good') return { kind: 'other', outcome: back };
    const view = this.#memoryOf(Math.min(bytes, TRANSFER_BYTES_MAX));
    const outcome = await this.#drive.read(view);
    const { kind, sense, received } = outcome;
    if (kind === 'good' || kind === 'recovered') return this.#taken(view, received, into);
    if (kind !== 'incorrect-length') return { kind: 'other', outcome };
    const length = sense?.information === undefined ? received : view.length - sense.information;
    if (length > 0 && length < view.length) return await this.#readAgain(length, into);
    const isLast = sense?.information !== undefined || view.length >= TRANSFER_BYTES_MAX;
    return isLast ? { kind: 'other', outcome } : await this.#readLonger(2 * bytes, into);
  }

  /** Its length is known now: back, and the whole record at once. */
  async #readAgain(length: number, into: Uint8Array): Promise<Step> {
    const back = await this.#drive.space('blocks', -1);
    if (back.kind !== 'good') return { kind: 'other', outcome: back };
    this.#usualBytes = length;
    const view = length <= into.length ? into.subarray(0, length) : this.#memoryOf(length);
    const outcome = await this.#drive.read(view);
    if (outcome.kind !== 'good' && outcome.kind !== 'recovered') return { kind: 'other', outcome };
    return this.#taken(view, outcome.received, into);
  }

  #taken(view: Uint8Array, bytes: number, into: Uint8Array): Step {
    if (view.buffer !== into.buffer || view.byteOffset !== into.byteOffset) {
      into.set(view.subarray(0, Math.min(bytes, into.length)));
    }
    return { kind: 'record', bytes };
  }

  #memoryOf(bytes: number): Buffer {
    if (this.#memory.length < bytes) this.#memory = Buffer.alloc(bytes);
    return this.#memory.subarray(0, bytes);
  }

  /** Passes the next object, whatever it is. */
  async #pass(): Promise<Step> {
    const outcome = await this.#drive.read(this.#memoryOf(1));
    switch (outcome.kind) {
      case 'good':
      case 'recovered':
      case 'incorrect-length':
        return { kind: 'record', bytes: 0 };
      case 'file-mark':
        return { kind: 'mark' };
      case 'end-of-data':
      case 'end-of-medium':
        return { kind: 'end' };
      default:
        return { kind: 'other', outcome };
    }
  }

  /**
   * To an object, by spacing.
   *
   * @param from where the tape stands; undefined: not known
   * @returns where it stands now: fewer objects if the data ends before; `stop` is what went wrong
   */
  async locate(
    from: number | undefined,
    object: number,
  ): Promise<{ object: number; stop: Outcome }> {
    let at = from ?? 0;
    if (from === undefined || object < from) {
      const stop = await this.#drive.rewind();
      if (stop.kind !== 'good') return { object: 0, stop };
      at = 0;
    }
    // The last step is a read, which tells an object from the end of data.
    while (at < object - 1) {
      const count = Math.min(SPACE_MAX, object - 1 - at);
      const outcome = await this.#drive.space('blocks', count);
      const left = outcome.sense?.information ?? 0;
      if (outcome.kind === 'good') at += count;
      else if (outcome.kind === 'file-mark') at += count - left + 1;
      else if (outcome.kind === 'end-of-data') return await this.#countToEnd();
      else return { object: at, stop: outcome };
    }
    if (at < object) {
      const step = await this.#pass();
      if (step.kind === 'other' && step.outcome.kind !== 'medium-error') {
        return { object: at, stop: step.outcome };
      }
      if (step.kind !== 'end') at += 1;
    }
    return { object: at, stop: GOOD };
  }

  async #countToEnd(): Promise<{ object: number; stop: Outcome }> {
    const stop = await this.#drive.rewind();
    if (stop.kind !== 'good') return { object: 0, stop };
    const { object, outcome } = await this.end(0);
    return { object, stop: outcome };
  }

  /** Behind the last object. */
  async end(from: number): Promise<{ object: number; outcome: Outcome }> {
    for (let object = from; ; object++) {
      const step = await this.#pass();
      if (step.kind === 'end') return { object, outcome: GOOD };
      if (step.kind === 'other') return { object, outcome: step.outcome };
    }
  }

  /** SPACE over records or marks, object by object. */
  async space(
    from: number,
    what: 'blocks' | 'marks',
    count: number,
  ): Promise<{ object: number; spaced: Spaced; outcome: Outcome }> {
    const wanted = Math.abs(count);
    const isBack = count < 0;
    let [object, done] = [from, 0];
    const stopped = (stop: Spaced['stop'], outcome: Outcome = GOOD) => {
      return { object, spaced: { count: done, stop }, outcome };
    };
    while (done < wanted) {
      if (isBack && object === 0) return stopped('beginning');
      const { isMark, end, outcome } = isBack ? await this.#passBack() : await this.#passOn();
      if (end) return stopped('end');
      if (outcome !== undefined) return stopped('done', outcome);
      object += isBack ? -1 : 1;
      if (isMark === (what === 'marks')) done += 1;
      else if (isMark) return stopped('mark');
    }
    return stopped('done');
  }

  async #passOn(): Promise<Passed> {
    const step = await this.#pass();
    return { isMark: step.kind === 'mark', end: step.kind === 'end', outcome: step.outcome };
  }

  async #passBack(): Promise<Passed> {
    const back = await this.#drive.space('blocks', -1);
    const isMark = back.kind === 'file-mark';
    if (back.kind !== 'good' && !isMark) return { isMark, end: false, outcome: back };
    if (!this.#drive.traits.spacesOverMarks) return { isMark, end: false, outcome: undefined };
    // What it was is seen by reading it; then back again.
    const passed = await this.#passOn();
    const again = await this.#drive.space('blocks', -1);
    return again.kind === 'good' ? passed : { ...passed, outcome: again };
  }
}

/**
 * How far a SPACE of a drive that tells its position came; undefined where it failed.
 *
 * @param moved objects between the positions before and after, negative backwards
 */
export function countedOf(
  what: 'blocks' | 'marks',
  count: number,
  outcome: Outcome,
  moved: number,
): Spaced | undefined {
  const wanted = Math.abs(count);
  // Most drives say how many were left; for records the positions say it too.
  const left = Math.abs(outcome.sense?.information ?? 0);
  const counted = Math.max(0, wanted - left);
  switch (outcome.kind) {
    case 'good':
    case 'recovered':
      return { count: wanted, stop: 'done' };
    case 'file-mark':
      return { count: Math.max(0, Math.abs(moved) - 1), stop: 'mark' };
    case 'end-of-data':
    case 'end-of-medium':
    case 'beginning-of-medium': {
      const stop = outcome.kind === 'beginning-of-medium' || count < 0 ? 'beginning' : 'end';
      return { count: what === 'blocks' ? Math.abs(moved) : counted, stop };
    }
    default:
      return undefined;
  }
}
