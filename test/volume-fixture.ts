/**
 * What tests of volumes need: chunks with contents of their own, labels, and the reading back of every
 * chunk, by the write log or by headers.
 */
import assert from 'node:assert/strict';
import {
  finishTag,
  PART,
  setPayloadCrc,
  setPlace,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  writeTag,
} from '../src/format/tag-header.ts';
import type { VolumeLabel } from '../src/format/volume-label.ts';
import type { LogEntry } from '../src/format/write-log.ts';
import { crcOf, type Random } from '../src/host/mod.ts';
import type { Volume } from '../src/media/volume.ts';
import { pagesOnMedium, readContents } from '../src/media/volume-index.ts';
import { labelVolume } from '../src/media/volume-label.ts';
import { planVolumeRead } from '../src/media/volume-plan.ts';
import { VolumeReader } from '../src/media/volume-reader.ts';
import { newScanReport, scanVolume } from '../src/media/volume-scan.ts';
import type { VolumeWriter } from '../src/media/volume-writer.ts';
import { entriesOf } from '../src/media/write-log.ts';

export interface MadeChunk {
  readonly stream: string;
  readonly chunk: string;
  /** Header, blocks, footer. */
  readonly records: readonly Buffer[];
}

/** Numbers for tests from the bytes of a generator. */
export const below = (random: Random, limit: number): number =>
  random.bytes(4).readUInt32LE(0) % limit;

const newId = (random: Random): string => random.bytes(16).toString('hex');

/** A chunk of a stream, its blocks of random lengths. */
export function makeChunk(
  random: Random,
  stream: string,
  blocks: number,
  payloadBytesMax: number,
): MadeChunk {
  const chunk = newId(random);
  const records: Buffer[] = [];
  let offset = 0;
  const add = (part: number, block: number, flags: number): void => {
    const payload = random.bytes(1 + below(random, payloadBytesMax));
    const bytes = Buffer.concat([Buffer.alloc(TAG_FIXED_BYTES), payload]);
    writeTag(bytes, 0, TAG_FIXED_BYTES, {
      ...{ part, contentClass: 1, compression: 0, encryption: 0, flags, keyGeneration: 1 },
      ...{ rawBytes: payload.length, storedBytes: payload.length, blobCount: 1 },
    });
    setPayloadCrc(bytes, 0, crcOf(payload, 0, payload.length));
    const [chunkId, streamId] = [Buffer.from(chunk, 'hex'), Buffer.from(stream, 'hex')];
    setPlace(bytes, 0, chunkId, streamId, block, offset, records.length);
    finishTag(bytes, 0, crcOf);
    offset += bytes.length;
    records.push(bytes);
  };
  add(PART.chunkHeader, 0, 0);
  for (let block = 0; block < blocks; block++) add(PART.block, block, 0);
  add(PART.chunkFooter, blocks, TAG_FLAG.lastBlock);
  return { stream, chunk, records };
}

export const makeStream = newId;

let made = 0;

export function makeLabel(random: Random, blockBytes: number): VolumeLabel {
  made += 1;
  return {
    ...{ volume: newId(random), name: `T${made}`, pool: 'tapes', repository: '0'.repeat(32) },
    ...{ sequence: made, blockBytes, createdMs: 1, writer: 'test', records: [] },
  };
}

/** Labels a blank volume. */
export async function labelled(
  volume: Volume,
  random: Random,
  blockBytes: number,
): Promise<{ volume: Volume; label: VolumeLabel }> {
  const label = makeLabel(random, blockBytes);
  await labelVolume(volume, label);
  return { volume, label };
}

/** Writes the chunks of one stream, one after the other. */
export async function writeChunks(
  writer: VolumeWriter,
  chunks: readonly MadeChunk[],
  pause: () => Promise<void> = async () => {},
): Promise<void> {
  const stream = await writer.openStream((chunks[0] as MadeChunk).stream);
  try {
    for (const { chunk, records } of chunks) {
      for (const [part, record] of records.entries()) {
        await pause();
        await stream.write(record, { chunk, part, isLast: part === records.length - 1 });
      }
    }
  } finally {
    stream.end();
  }
}

export type LogSource = 'log' | 'scan';

/** All entries of a volume: by the logs on it, and by headers for what has none; or all by headers. */
export async function volumeEntries(
  volume: Volume,
  volumeId: string,
  source: LogSource,
): Promise<LogEntry[]> {
  const { sessions, openFrom, end } = await readContents(volume, volumeId);
  const entries: LogEntry[] = [];
  if (source === 'log') {
    for (const session of sessions)
      for await (const entry of entriesOf(pagesOnMedium(volume, volumeId, session)))
        entries.push(entry);
  }
  const from = source === 'log' ? openFrom : 3;
  if (from < end)
    for await (const entry of scanVolume(volume, from, end, newScanReport())) entries.push(entry);
  return entries;
}

/** Reads chunks from the volumes that have them; fails unless every byte is there. */
export async function assertReadBack(
  volumes: readonly { volume: Volume; label: VolumeLabel }[],
  chunks: readonly MadeChunk[],
  source: LogSource,
): Promise<void> {
  const wanted = new Map(chunks.map((one) => [one.chunk, new Set(one.records.keys())]));
  const byId = new Map(chunks.map((one) => [one.chunk, one]));
  for (const { volume, label } of volumes) {
    const entries = await volumeEntries(volume, label.volume, source);
    const list = [...wanted].map(([chunk, parts]) => ({ chunk, parts: [...parts] }));
    const plan = await planVolumeRead(entries, list);
    const reader = new VolumeReader(volume, label.blockBytes);
    for await (const got of reader.read(plan)) {
      assert(got.kind === 'record', `${source}: ${'error' in got ? got.error.message : ''}`);
      const { records, stream } = byId.get(got.chunk) as MadeChunk;
      assert.equal(got.stream, stream);
      assert.deepEqual(got.bytes, records[got.part], `${source}: part ${got.part}`);
      wanted.get(got.chunk)?.delete(got.part);
    }
    assert.equal(reader.figures.recordsRead, plan.records, 'nothing else was read');
  }
  for (const [chunk, parts] of wanted)
    assert.deepEqual([...parts], [], `${source}: parts of ${chunk} are missing`);
}
