/**
 * Makes the write log again from the records themselves (L6): reads headers, one after the other.
 *
 * Contract: every record of a chunk says in clear whose it is (its tag header); nothing else is needed,
 * and no key. What cannot be read costs itself alone. Only as much of a record is asked for as a tag
 * header may have. Times are not in the records: they are those of the session's record.
 */

import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import {
  blockNumberOf,
  checkTag,
  chunkIdOf,
  chunkOffsetOf,
  flagsOf,
  PART,
  partOf,
  sessionIdOf,
  TAG_FLAG,
} from '../format/tag-header.ts';
import { type LogEntry, type LogRun, readPlainRecord } from '../format/write-log.ts';
import { crcOf } from '../host/mod.ts';
import { isVolumeError, type Volume } from './volume.ts';
import { extendRun, type LoggedRecord, runOf } from './write-log.ts';

export interface ScanReport {
  /** Records of chunks. */
  records: number;
  /** Objects that could not be read, or say nothing that is understood: the first of them. */
  readonly damaged: number[];
  damagedCount: number;
  /** Records of Penstock that belong to no chunk: sessions, logs. */
  others: number;
  marks: number;
}

export const newScanReport = (): ScanReport => ({
  ...{ records: 0, damaged: [], damagedCount: 0, others: 0, marks: 0 },
});

/** The block number's part: the chunk's header comes before its blocks. */
export const partOfBlock = (block: number): number => block + 1;

/**
 * The entries of objects `from` to `end`; `report` is filled in on the way.
 *
 * @param perRecord each record is a run of its own
 */
export async function* scanVolume(
  volume: Volume,
  from: number,
  end: number,
  report: ScanReport,
  perRecord = false,
): AsyncGenerator<LogEntry> {
  await volume.locate(from);
  const view = Buffer.alloc(LIMITS.headerRoomBytes);
  const parts = new PartNumbers();
  let run: LogRun | undefined;
  let ms = 0;
  for (let object = from; object < end; object++) {
    const { hint } = await volume.tell();
    const bytes = await readHead(volume, view);
    if (bytes === 'end') break;
    if (typeof bytes === 'number') {
      const seen = parts.see(view, bytes);
      if (seen === undefined) {
        const startedMs = sessionStart(view, bytes);
        if (startedMs === undefined) addDamaged(report, object);
        else report.others += 1;
        ms = startedMs || ms;
        continue;
      }
      report.records += 1;
      const times = { receivedMs: ms, writtenMs: ms };
      const record: LoggedRecord = { ...seen, bytes, recordBytes: 0, object, hint, ...times };
      const longer = run === undefined || perRecord ? undefined : extendRun(run, record);
      if (longer === undefined && run !== undefined) yield run;
      run = longer ?? runOf(record);
      continue;
    }
    if (run !== undefined) yield run;
    run = undefined;
    if (bytes === 'damaged') addDamaged(report, object);
    else {
      report.marks += 1;
      const more = hint === undefined ? {} : { hint };
      yield { kind: 'marks', object, count: 1, writtenMs: ms, ...more };
    }
  }
  if (run !== undefined) yield run;
}

function addDamaged(report: ScanReport, object: number): void {
  report.damagedCount += 1;
  if (report.damaged.length < LIMITS.scanDamagedMax) report.damaged.push(object);
}

/** The length of a record, of which the beginning is then in the view. */
async function readHead(
  volume: Volume,
  view: Buffer,
): Promise<number | 'mark' | 'end' | 'damaged'> {
  try {
    const got = await volume.read(view);
    return got.kind === 'record' ? got.bytes : got.kind;
  } catch (thrown) {
    if (isVolumeError(thrown, 'VOLUME_DAMAGED')) return 'damaged';
    throw thrown;
  }
}

interface OpenChunk {
  /** The next part. */
  next: number;
  /** Parts that are no blocks, by their offset in the chunk: one may have been written twice. */
  readonly others: Map<number, number>;
}

/** Which part of its chunk each record is. */
export class PartNumbers {
  /** Chunks whose end has not been seen. */
  readonly #chunks = new Map<string, OpenChunk>();

  /** Chunks of which parts are remembered. */
  get openCount(): number {
    return this.#chunks.size;
  }

  see(
    view: Buffer,
    recordBytes: number,
  ): Pick<LoggedRecord, 'stream' | 'chunk' | 'part' | 'isLast'> | undefined {
    const available = Math.min(recordBytes, view.length);
    if (checkTag(view, 0, available, crcOf) !== undefined) return undefined;
    const stream = sessionIdOf(view, 0).toString('hex');
    const chunk = chunkIdOf(view, 0).toString('hex');
    const open = this.#chunks.get(chunk) ?? { next: 0, others: new Map() };
    const part = this.#part(view, open);
    open.next = Math.max(open.next, part + 1);
    const isLast = (flagsOf(view, 0) & TAG_FLAG.lastBlock) !== 0;
    this.#chunks.delete(chunk);
    if (!isLast) this.#chunks.set(chunk, open);
    // Of those that never end the one that was not seen for longest is forgotten.
    for (const [old] of this.#chunks) {
      if (this.#chunks.size <= LIMITS.scanChunksMax) break;
      this.#chunks.delete(old);
    }
    return { stream, chunk, part, isLast };
  }

  #part(view: Buffer, open: OpenChunk): number {
    const kind = partOf(view, 0);
    const byBlock = partOfBlock(blockNumberOf(view, 0));
    if (kind === PART.block) return byBlock;
    const offset = chunkOffsetOf(view, 0);
    const known = open.others.get(offset);
    if (known !== undefined) return known;
    const part = kind === PART.chunkHeader ? 0 : Math.max(open.next, byBlock);
    if (open.others.size < LIMITS.scanPartsMax) open.others.set(offset, part);
    return part;
  }
}

/** When a session began, by its record; 0 for other records of ours; nothing for what is none. */
function sessionStart(view: Buffer, bytes: number): number | undefined {
  if (view.toString('latin1', 0, 8) !== 'PENSTOCK') return undefined;
  if (view[8] !== RECORD.volumeSession || bytes > view.length) return 0;
  try {
    const record = readPlainRecord(view.subarray(0, bytes), RECORD.volumeSession, '', crcOf);
    return Number((record.clear as { startedMs?: unknown }).startedMs) || 0;
  } catch (thrown) {
    if (thrown instanceof PenstockError && thrown.code === 'DAMAGED') return undefined;
    throw thrown;
  }
}
