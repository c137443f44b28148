/**
 * Which sessions are on a volume, and where their logs are: the end of each session says it of all so
 * far (L6).
 *
 *   label | session | session | …
 *   session  session record, records of chunks, marks … mark, end record, log pages, index, mark
 *
 * The end record, pages and index are records (format/record.ts) of kinds volumeSessionEnd,
 * volumeLogPage, volumeIndex; the index is JSON cut into as many records as it needs, each of which
 * says which of how many it is. A volume whose last objects are not an index and a mark was not closed:
 * everything behind the last index is found by reading headers (volume-scan.ts).
 */

import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import { LABEL_OBJECTS } from '../format/volume-label.ts';
import {
  decodeLogPage,
  type LogPageHead,
  plainRecord,
  readPlainRecord,
} from '../format/write-log.ts';
import { crcOf } from '../host/mod.ts';
import { isVolumeError, type Volume } from './volume.ts';
import { type LogPages, readOnlyPages } from './write-log.ts';

/** Where a page of the log is. */
export interface PagePlace {
  readonly object: number;
  readonly hint?: number;
  readonly firstObject: number;
  readonly endObject: number;
}

export interface SessionEntry {
  /** Number on the volume, from 0. */
  readonly session: number;
  /** Given by the application. */
  readonly id: string;
  readonly startedMs: number;
  readonly endedMs: number;
  /** Its first object, and the one behind its last. */
  readonly firstObject: number;
  readonly endObject: number;
  readonly records: number;
  readonly bytes: number;
  /** Empty if the log is kept beside the medium only. */
  readonly pages: readonly PagePlace[];
}

export interface VolumeContents {
  readonly sessions: readonly SessionEntry[];
  /** Objects from here to the end belong to a session that was not closed. */
  readonly openFrom: number;
  /** All objects. */
  readonly end: number;
}

interface IndexHead {
  readonly volume: string;
  readonly part: number;
  readonly parts: number;
}

/** The records of an index, each of at most `recordBytes`. */
export function encodeIndex(
  volume: string,
  sessions: readonly SessionEntry[],
  recordBytes: number,
): Buffer[] {
  const json = Buffer.from(JSON.stringify(sessions));
  const slice = recordBytes - 512;
  const parts = Math.max(1, Math.ceil(json.length / slice));
  return Array.from({ length: parts }, (_, part) => {
    const head: IndexHead = { volume, part, parts };
    const body = json.subarray(part * slice, (part + 1) * slice);
    return plainRecord(RECORD.volumeIndex, volume, head, body, crcOf);
  });
}

/**
 * Finds the last index, from the end of data backwards. The position is afterwards anywhere.
 *
 * @param volumeId the id in the label
 */
export async function readContents(volume: Volume, volumeId: string): Promise<VolumeContents> {
  await volume.spaceEnd();
  const end = (await volume.tell()).object;
  const view = Buffer.alloc(Math.min(volume.limits.recordBytesMax, LIMITS.volumeIndexBytesMax));
  for (;;) {
    const back = await volume.spaceMarks(-1);
    const mark = (await volume.tell()).object;
    if (back.count === 0 || mark < LABEL_OBJECTS)
      return { sessions: [], openFrom: Math.min(end, LABEL_OBJECTS), end };
    const sessions = await indexBefore(volume, volumeId, mark, view);
    if (sessions !== undefined) return { sessions, openFrom: mark + 1, end };
    await volume.locate(mark);
  }
}

/** The index that ends just before a mark; nothing if there is none. */
async function indexBefore(
  volume: Volume,
  volumeId: string,
  mark: number,
  view: Buffer,
): Promise<SessionEntry[] | undefined> {
  const last = await readIndexPart(volume, volumeId, mark - 1, view);
  if (last === undefined || last.head.part !== last.head.parts - 1) return undefined;
  const bodies: Buffer[] = [];
  let bytes = last.body.length;
  for (let part = 0; part < last.head.parts - 1; part++) {
    const at = mark - last.head.parts + part;
    const read = await readIndexPart(volume, volumeId, at, view);
    if (read?.head.part !== part) return undefined;
    bytes += read.body.length;
    if (bytes > LIMITS.volumeIndexAllBytesMax) return undefined;
    bodies.push(read.body);
  }
  try {
    const sessions: unknown = JSON.parse(Buffer.concat([...bodies, last.body]).toString('utf8'));
    return areSessions(sessions, mark + 1) ? sessions : undefined;
  } catch {
    return undefined;
  }
}

/** Whether an index says what can be, of objects before `end`: it may be damaged, or a lie. */
function areSessions(value: unknown, end: number): value is SessionEntry[] {
  let [number, first] = [-1, 0];
  const isNext = (one: Partial<SessionEntry> | null): boolean => {
    if (typeof one !== 'object' || one === null || typeof one.id !== 'string') return false;
    const { session, firstObject, endObject, records, bytes, startedMs, endedMs, pages } = one;
    if (![session, firstObject, endObject, records, bytes, startedMs, endedMs].every(isCount))
      return false;
    const isAfter = Number(session) > number && Number(firstObject) >= first;
    [number, first] = [Number(session), Number(endObject)];
    return isAfter && isRange(one, end) && Array.isArray(pages) && pages.every(isPlace);
  };
  const isPlace = (page: Partial<PagePlace> | null): boolean =>
    isCount(page?.object) &&
    (page?.hint === undefined || isCount(page.hint)) &&
    isRange(page ?? {}, end);
  return Array.isArray(value) && value.every(isNext);
}

function isRange(
  { firstObject, endObject }: { firstObject?: unknown; endObject?: unknown },
  end: number,
): boolean {
  const isOne = isCount(firstObject) && isCount(endObject);
  return isOne && Number(firstObject) <= Number(endObject) && Number(endObject) <= end;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;

async function readIndexPart(
  volume: Volume,
  volumeId: string,
  object: number,
  view: Buffer,
): Promise<{ head: IndexHead; body: Buffer } | undefined> {
  const bytes = await readWhole(volume, object, undefined, view);
  if (bytes === undefined) return undefined;
  try {
    const read = readPlainRecord(bytes, RECORD.volumeIndex, `object ${object}`, crcOf);
    const head = read.clear as IndexHead | null;
    if (read.id !== volumeId || !isCount(head?.part) || !isCount(head?.parts)) return undefined;
    return { head: head as IndexHead, body: Buffer.from(read.body) };
  } catch (thrown) {
    if (thrown instanceof PenstockError && thrown.code === 'DAMAGED') return undefined;
    throw thrown;
  }
}

/** A record that fits the view; nothing where there is another thing, or damage. */
async function readWhole(
  volume: Volume,
  object: number,
  hint: number | undefined,
  view: Buffer,
): Promise<Buffer | undefined> {
  if (object < 0) return undefined;
  try {
    await volume.locate(object, hint);
    const got = await volume.read(view);
    if (got.kind !== 'record' || got.bytes > view.length) return undefined;
    return view.subarray(0, got.bytes);
  } catch (thrown) {
    if (isVolumeError(thrown, 'VOLUME_DAMAGED') || isVolumeError(thrown, 'VOLUME_POSITION'))
      return undefined;
    throw thrown;
  }
}

/**
 * The log pages of a session, read from the medium as they are asked for.
 *
 * @throws PenstockError DAMAGED from `read` when a page is not what the index says
 */
export function pagesOnMedium(volume: Volume, volumeId: string, session: SessionEntry): LogPages {
  const view = Buffer.alloc(Math.min(volume.limits.recordBytesMax, 2 * LIMITS.logPageBytes));
  return readOnlyPages(session.pages.length, async (index) => {
    const place = session.pages[index] as PagePlace;
    const subject = `page ${index} of the write log, object ${place.object} of ${volume.name}`;
    for (const hint of place.hint === undefined ? [undefined] : [place.hint, undefined]) {
      const bytes = await readWhole(volume, place.object, hint, view);
      if (bytes !== undefined && isPage(bytes, volumeId, place)) return Buffer.from(bytes);
    }
    throw new PenstockError('DAMAGED', `${subject} cannot be read`, { subject });
  });
}

function isPage(bytes: Buffer, volumeId: string, place: PagePlace): boolean {
  try {
    const { head }: { head: LogPageHead } = decodeLogPage(bytes, 'a page', crcOf);
    const { volume, firstObject, endObject } = head;
    return (
      volume === volumeId && firstObject === place.firstObject && endObject === place.endObject
    );
  } catch {
    return false;
  }
}
