/**
 * Volumes: several streams at once onto one tape image, and what it takes to get one of them back.
 *
 *     node bench/volumes.ts              alone
 *
 * The engine: eight sources of different speeds, in threads, beside one that writes the same bytes; a file of
 * 10 kB out of an image of 20 GB (sparse) by its write log, and by headers; the log of a tape of 18 TB, computed
 * from a part. Whole commands are in volume-commands.ts.
 *
 * Contract: the images lie in memory; what is compared was measured in turns.
 */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { LogEntry, LogRun } from '../src/format/write-log.ts';
import { openFiles, seededRandom } from '../src/host/mod.ts';
import { DriveLink } from '../src/media/drive-link.ts';
import { openTapeImage } from '../src/media/tape-image.ts';
import type { Volume } from '../src/media/volume.ts';
import { planVolumeRead } from '../src/media/volume-plan.ts';
import { VolumeReader } from '../src/media/volume-reader.ts';
import type { StreamingFigures } from '../src/media/volume-streaming.ts';
import { VolumeWriter } from '../src/media/volume-writer.ts';
import { type LogPages, WriteLog } from '../src/media/write-log.ts';
import { labelled, makeChunk, volumeEntries } from '../test/volume-fixture.ts';
import { Figures } from './figures.ts';
import { makeFolder, removeFolders, tmpfsFolder, touchMemory } from './places.ts';
import { markdown, megabytes, seconds, type Target, targetsTable } from './table.ts';
import { addCommandTargets, runVolumeCommands } from './volume-commands.ts';
import type { SourceTask } from './volume-source.ts';

type Say = (line: string) => void;

const KIB = 1024;
const MIB = KIB * KIB;
const RECORD_BYTES = 2 * MIB + 4 * KIB;
const TOTAL_RECORDS = 512;
const SMALL_BYTES = 10_000;
const IMAGE_BYTES = 20e9;
const TAPE_BYTES = 18e12;
/** About what an LTO-8 drive writes. */
const DRIVE_BYTES_PER_MS = 300e3;
/** Of the log of such a tape, so much is made. */
const LOG_PART = 64;

const ONE = 'volumes: one stream';
const EIGHT = 'volumes: eight streams';
const TAPE_SPEED = 'volumes: eight streams, a drive of 300 MB/s';
const BY_LOG = 'volumes: 10 kB of 20 GB, by log';
const BY_HEADERS = 'volumes: 10 kB of 20 GB, by headers';
const LOG = 'volumes: log of 18 TB';

const random = seededRandom(4);
const newId = (): string => random.bytes(16).toString('hex');

/** Measures everything; `source`: the tree of whose folders backups are made. */
export async function runVolumes(
  source: string,
  folder: string,
  rounds: number,
  say: Say,
): Promise<Figures> {
  const figures = new Figures();
  for (let round = 0; round < rounds; round++) {
    say(`${EIGHT}: round ${round + 1}`);
    await multiplex(folder, [{ records: TOTAL_RECORDS, pauseMs: 0 }], ONE, figures);
    await multiplex(folder, eightStreams(), EIGHT, figures);
    await atTapeSpeed(folder, figures);
  }
  await findSmallFile(folder, rounds, figures, say);
  await sizeOfLog(figures);
  await runVolumeCommands(source, folder, rounds, figures, say);
  return figures;
}

/** Four as fast as they can, four that pause, the last the most; as many records in all as the one has. */
function eightStreams(): { records: number; pauseMs: number }[] {
  const slow = [1, 2, 4, 8].map((pauseMs) => ({ records: 16, pauseMs }));
  const fast = (TOTAL_RECORDS - 16 * slow.length) / 4;
  return [...slow, ...Array.from({ length: 4 }, () => ({ records: fast, pauseMs: 0 }))];
}

async function multiplex(
  folder: string,
  streams: readonly { records: number; pauseMs: number }[],
  work: string,
  figures: Figures,
): Promise<void> {
  const path = join(folder, 'multiplexed.tap');
  rmSync(path, { force: true });
  touchMemory(folder, TOTAL_RECORDS * RECORD_BYTES);
  const volumeBytes = 2 * TOTAL_RECORDS * RECORD_BYTES;
  const volume = openTapeImage({ path, create: true, volumeBytes });
  const { label } = await labelled(volume, random, RECORD_BYTES);
  await volume.close();
  const link = new DriveLink(RECORD_BYTES, {
    nextVolumes: async () => [],
    mayReplace: async () => false,
    onProtected: () => undefined,
    onLoaded: () => undefined,
    onPassedOver: () => undefined,
    onCommitted: () => undefined,
  });
  const settings = { markBytes: 0, logPlace: 'medium', logPerRecord: false } as const;
  await link.write({ id: newId(), writer: 'bench', ...settings }, [
    { medium: { kind: 'tape-image', path, volumeBytes }, label },
  ]);
  const workers = await Promise.all(
    streams.map(async (stream) => {
      const ids = { stream: newId(), chunk: newId() };
      const task: SourceTask = {
        media: link.chunkMedia,
        ...ids,
        ...stream,
        recordBytes: RECORD_BYTES,
      };
      const worker = new Worker(new URL('volume-source.ts', import.meta.url), { workerData: task });
      await once(worker, 'message');
      return worker;
    }),
  );
  const startedMs = performance.now();
  const done = workers.map((worker) => once(worker, 'message'));
  for (const worker of workers) worker.postMessage('go');
  await Promise.all(done);
  figures.add(work, 'penstock', 'ms', performance.now() - startedMs);
  const { streaming } = await link.finish();
  await link.close();
  rmSync(path);
  figures.add(work, 'penstock', 'waited', waitedShare(streaming));
}

/** The same streams, to a drive that is slower than they are, as tapes mostly are; no threads. */
async function atTapeSpeed(folder: string, figures: Figures): Promise<void> {
  const path = join(folder, 'slow.tap');
  const image = openTapeImage({
    path,
    create: true,
    volumeBytes: 2 * TOTAL_RECORDS * RECORD_BYTES,
  });
  const { label } = await labelled(image, random, RECORD_BYTES);
  const writer = await VolumeWriter.open(
    { volume: atSpeed(image), label },
    { id: newId(), writer: 'bench' },
  );
  const startedMs = performance.now();
  await Promise.all(
    eightStreams().map(async ({ records, pauseMs }) => {
      const stream = await writer.openStream(newId());
      const chunk = newId();
      const record = Buffer.alloc(RECORD_BYTES, makeChunk(random, newId(), 1, 100).records[1]);
      for (let part = 0; part < records; part++) {
        if (pauseMs > 0) await sleep(pauseMs);
        await stream.write(record, { chunk, part, isLast: part === records - 1 });
      }
      stream.end();
    }),
  );
  const { figures: streaming } = await writer.close();
  figures.add(TAPE_SPEED, 'penstock', 'ms', performance.now() - startedMs);
  figures.add(TAPE_SPEED, 'penstock', 'waited', waitedShare(streaming));
  await image.close();
  rmSync(path);
}

/** A volume whose drive takes its time for each record, while others go on. */
function atSpeed(volume: Volume): Volume {
  let freeAtMs = 0;
  const append = async (record: Uint8Array): Promise<boolean> => {
    freeAtMs = Math.max(freeAtMs, performance.now()) + record.length / DRIVE_BYTES_PER_MS;
    const warned = await volume.append(record);
    const leftMs = freeAtMs - performance.now();
    if (leftMs > 0) await sleep(leftMs);
    return warned;
  };
  return new Proxy(volume, {
    get: (target, name) => {
      if (name === 'append') return append;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const waitedShare = (streaming: StreamingFigures | undefined): number =>
  streaming === undefined ? Number.NaN : streaming.waitedMs / Math.max(1, streaming.totalMs);

/** Writes nothing of what is zeros behind the headers: the image is sparse. */
function sparseFiles(): ReturnType<typeof openFiles> {
  const files = openFiles();
  const write: typeof files.write = (fd, view, offset, length, position) => {
    const kept = length >= MIB ? 4 * KIB : length;
    const result = files.write(fd, view, offset, kept, position);
    return result < 0 ? result : length;
  };
  return new Proxy(files, {
    get: (target, name) => {
      if (name === 'write') return write;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

async function findSmallFile(
  folder: string,
  rounds: number,
  figures: Figures,
  say: Say,
): Promise<void> {
  const path = join(folder, 'large.tap');
  say('making a sparse image of 20 GB');
  const volume = openTapeImage({ path, create: true, files: sparseFiles() });
  const loaded = await labelled(volume, random, RECORD_BYTES);
  const small = makeChunk(random, newId(), 1, SMALL_BYTES);
  const writer = await VolumeWriter.open(loaded, { id: newId(), writer: 'bench' });
  const large = makeChunk(random, newId(), 1, 100).records[1] as Buffer;
  const record = Buffer.alloc(2 * MIB);
  record.set(large);
  const place = { chunk: newId(), isLast: false };
  const stream = await writer.openStream(newId());
  const count = Math.floor(IMAGE_BYTES / record.length);
  for (let part = 0; part < count; part++) {
    if (part === Math.floor(count * 0.6)) {
      const other = await writer.openStream(small.stream);
      for (const [i, bytes] of small.records.entries())
        await other.write(bytes, {
          ...{ chunk: small.chunk, part: i, isLast: i === small.records.length - 1 },
        });
      other.end();
    }
    await stream.write(record, { ...place, part });
  }
  stream.end();
  await writer.close();
  await volume.close();
  for (let round = 0; round < rounds; round++)
    for (const [work, by] of [
      [BY_LOG, 'log'],
      [BY_HEADERS, 'scan'],
    ] as const) {
      say(work);
      const startedMs = performance.now();
      const image = openTapeImage({ path, readOnly: true });
      const entries = await volumeEntries(image, loaded.label.volume, by);
      const plan = await planVolumeRead(entries, [{ chunk: small.chunk, parts: [1] }]);
      const reader = new VolumeReader(image, RECORD_BYTES);
      let found = 0;
      for await (const got of reader.read(plan)) {
        if (got.kind !== 'record' || !got.bytes.equals(small.records[1] as Buffer))
          throw new Error('the record is not what was written');
        found++;
      }
      if (found !== 1) throw new Error(`${found} records were found`);
      await image.close();
      figures.add(work, 'penstock', 'ms', performance.now() - startedMs);
    }
  rmSync(path);
}

/** Counts pages, and keeps none. */
class CountedPages implements LogPages {
  count = 0;
  bytes = 0;
  async add(page: Buffer): Promise<void> {
    this.count += 1;
    this.bytes += page.length;
  }
  async read(): Promise<Buffer> {
    throw new Error('pages are only counted');
  }
  async clear(): Promise<void> {
    this.bytes = 0;
  }
  async synchronise(): Promise<void> {
    // Nothing is kept.
  }
}

/** Eight streams that take turns, two records of 2 MiB each time, chunks of 1 GiB, a mark every 4 GiB. */
async function sizeOfLog(figures: Figures): Promise<void> {
  const pages = new CountedPages();
  const log = new WriteLog(pages);
  await log.initiate({ id: newId(), volume: newId(), session: 0 });
  const bytes = 2 * RECORD_BYTES;
  const streams = Array.from({ length: 8 }, () => ({ stream: newId(), chunk: newId(), part: 0 }));
  let object = 3;
  let hint = 4096;
  for (let i = 0; i < TAPE_BYTES / LOG_PART / bytes; i++) {
    const one = streams[i % 8] as (typeof streams)[number];
    const writtenMs = 1_700_000_000_000 + i * 10;
    const isLast = one.part >= 512;
    const { stream, chunk, part } = one;
    const times = { receivedMs: writtenMs - 7, writtenMs };
    const run: LogRun = {
      ...{ kind: 'run', stream, chunk, part, records: 2, bytes, recordBytes: 0, object, isLast },
      ...{ ...times, hint },
    };
    await log.add(run);
    one.part = isLast ? 0 : one.part + 2;
    if (isLast) one.chunk = newId();
    object += 2;
    hint += bytes + 16;
    if (i % 1024 !== 1023) continue;
    const more: LogEntry[] = [
      { kind: 'marks', object, count: 1, writtenMs, hint },
      { kind: 'synchronised', object: object + 1, writtenMs },
    ];
    for (const entry of more) await log.add(entry);
    object += 1;
    hint += 4;
  }
  await log.finish();
  figures.add(LOG, 'penstock', 'bytes', pages.bytes * LOG_PART);
}

export function volumesTable(figures: Figures): string {
  const programs = ['penstock', 'bacula'];
  const cell = (work: string, program: string): string => {
    const ms = figures.of(work, program, 'ms');
    const bytes = figures.of(work, program, 'bytes');
    const waited = figures.of(work, program, 'waited');
    const peak = figures.of(work, program, 'peak bytes');
    return [
      ms === undefined ? undefined : seconds(ms),
      bytes === undefined ? undefined : megabytes(bytes),
      waited === undefined ? undefined : `drive waited ${(100 * waited).toFixed(0)} %`,
      peak === undefined ? undefined : `${megabytes(peak)} of memory`,
    ]
      .filter((part) => part !== undefined)
      .join(', ');
  };
  const rows = figures.works.map((work) => [work, ...programs.map((name) => cell(work, name))]);
  return markdown(['work', ...programs], rows);
}

export function volumeTargets(figures: Figures): Target[] {
  const ms = (work: string): number | undefined => figures.of(work, 'penstock', 'ms');
  const speed = (ms(ONE) ?? Number.NaN) / (ms(EIGHT) ?? Number.NaN);
  const waited = figures.of(EIGHT, 'penstock', 'waited') ?? Number.NaN;
  const tape = figures.of(TAPE_SPEED, 'penstock', 'waited') ?? Number.NaN;
  const small = ms(BY_LOG) ?? Number.NaN;
  const log = figures.of(LOG, 'penstock', 'bytes') ?? Number.NaN;
  const target = (what: string, least: string, got: string, ok: boolean): Target => ({
    what,
    least,
    got: got.includes('NaN') ? undefined : got,
    ok,
  });
  return [
    target(`${EIGHT}, times the speed of one`, '0.90', speed.toFixed(2), speed >= 0.9),
    target(`${EIGHT}: the drive waited`, '< 5 %', `${(100 * waited).toFixed(1)} %`, waited < 0.05),
    target(`${TAPE_SPEED}: it waited`, '< 5 %', `${(100 * tape).toFixed(1)} %`, tape < 0.05),
    target(BY_LOG, '≤ 1.00 s', seconds(small), small <= 1000),
    target(LOG, '≤ 200 MB', megabytes(log), log <= 200e6),
    ...addCommandTargets(figures),
  ];
}

if (import.meta.main) {
  process.once('exit', removeFolders);
  const folder = makeFolder(tmpfsFolder());
  const [source = '/dev/shm/ref/linux-source-6.1', rounds = '3'] = process.argv.slice(2);
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const figures = await runVolumes(source, folder, Number(rounds), say);
  process.stdout.write(`${volumesTable(figures)}\n\n${targetsTable(volumeTargets(figures))}\n`);
}
