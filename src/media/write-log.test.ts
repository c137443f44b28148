/**
 * Goal: a write log comes back as it was written, stays small, and is never cleared by mistake.
 * Method: random logs through pages in memory, in a file, and with bytes spoiled; the log of a tape of
 * 18 TB, made up entry by entry and counted, never held.
 */
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { below } from '../../test/volume-fixture.ts';
import { decodeLogPage, type LogEntry, LogPageWriter, objectsOf } from '../format/write-log.ts';
import { crcOf, type Random, seededRandom } from '../host/mod.ts';
import { extendRun, type LoggedRecord, MemoryLogPages, runOf, WriteLog } from './write-log.ts';
import { writeLogFigures } from './write-log-figures.ts';
import { openLogFile } from './write-log-file.ts';
import { logFiguresSvg } from './write-log-picture.ts';
import { logEntryJson, logEntryText } from './write-log-text.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-log-'));
after(() => rmSync(folder, { recursive: true }));
const VOLUME = 'a'.repeat(32);
const idOf = (number: number): string => number.toString(16).padStart(32, '0');
const begun = { id: 'job 7', volume: VOLUME, session: 3 };

function randomLog(random: Random, count: number): LogEntry[] {
  const entries: LogEntry[] = [];
  let object = below(random, 1000);
  let writtenMs = 1_700_000_000_000;
  for (let i = 0; i < count; i++) {
    // A gap where something unreadable lies.
    object += below(random, 20) === 0 ? below(random, 5) : 0;
    writtenMs += below(random, 3000) - 20;
    const hint = below(random, 2) === 0 ? {} : { hint: below(random, 2 ** 31) * 4096 };
    const kind = below(random, 8);
    if (kind === 0) entries.push({ kind: 'synchronised', object, writtenMs });
    else if (kind === 1)
      entries.push({ kind: 'marks', object, count: 1 + below(random, 3), writtenMs, ...hint });
    else {
      const records = 1 + below(random, 40);
      entries.push({
        ...{ kind: 'run', stream: idOf(below(random, 9)), chunk: idOf(below(random, 500)) },
        ...{ part: below(random, 70_000), records, bytes: records * below(random, 2 ** 21) },
        ...{ recordBytes: below(random, 2) * 65_536, object, isLast: below(random, 5) === 0 },
        ...{ receivedMs: writtenMs - below(random, 500), writtenMs, ...hint },
      });
    }
    object += objectsOf(entries.at(-1) as LogEntry);
  }
  return entries;
}

async function all(entries: AsyncIterable<LogEntry>): Promise<LogEntry[]> {
  const list: LogEntry[] = [];
  for await (const entry of entries) list.push(entry);
  return list;
}

test('random logs come back, in memory and from a file', async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const entries = randomLog(seededRandom(seed), seed * 2000);
    const file = openLogFile(join(folder, `${seed}.log`), 'write');
    for (const pages of [new MemoryLogPages(), file]) {
      const log = new WriteLog(pages);
      await log.initiate(begun);
      for (const entry of entries) await log.add(entry);
      assert.deepEqual(await all(log.entries()), entries);
      assert(pages.count > 1 || seed === 1);
    }
    file.close();
    const again = openLogFile(join(folder, `${seed}.log`), 'read');
    const read = await Promise.all(Array.from({ length: again.count }, (_, i) => again.read(i)));
    const decoded = read.map((page) => decodeLogPage(page, 'page', crcOf));
    assert.deepEqual(
      decoded.flatMap((page) => page.entries),
      entries,
    );
    assert.deepEqual(
      decoded.map(({ head }) => [head.volume, head.session, head.page]),
      decoded.map((_, i) => [VOLUME, 3, i]),
    );
    again.close();
  }
});

test('a page that was torn in the file is not seen, and makes way for the next', async () => {
  const path = join(folder, 'torn.log');
  const entries = randomLog(seededRandom(9), 9000);
  const log = new WriteLog(openLogFile(path, 'write'));
  await log.initiate(begun);
  for (const entry of entries) await log.add(entry);
  await log.finish();
  const whole = log.pages.count;
  appendFileSync(path, (await log.pages.read(0)).subarray(0, 1000));
  const read = openLogFile(path, 'read');
  assert.equal(read.count, whole);
  read.close();
  const file = openLogFile(path, 'write');
  await file.add(await file.read(0));
  assert.equal(file.count, whole + 1);
  file.close();
  const again = openLogFile(path, 'read');
  assert.equal(again.count, whole + 1);
  again.close();
});

test('a flipped bit in a page is found', async () => {
  const log = new WriteLog();
  await log.initiate(begun);
  for (const entry of randomLog(seededRandom(2), 40)) await log.add(entry);
  await log.finish();
  const page = await log.pages.read(0);
  for (let at = 0; at < page.length; at++) {
    const spoiled = Buffer.from(page);
    spoiled[at] = (spoiled[at] ?? 0) ^ 1;
    assert.throws(() => decodeLogPage(spoiled, 'page', crcOf), /page/);
  }
});

test('it is begun, stored and cleared in this order only', async () => {
  const log = new WriteLog();
  const [entry] = randomLog(seededRandom(4), 1) as [LogEntry];
  assert.equal(log.state, 'clear');
  await assert.rejects(log.add(entry), { code: 'INTERNAL' });
  await log.initiate(begun);
  await log.add(entry);
  await assert.rejects(log.clear(), { code: 'USAGE' });
  await assert.rejects(log.initiate(begun), { code: 'USAGE' });
  log.markStored();
  assert.equal(log.state, 'stored');
  await log.add(entry);
  assert.equal(log.state, 'recording');
  await assert.rejects(log.clear(), { code: 'USAGE' });
  log.markStored();
  await log.clear();
  assert.deepEqual([log.state, log.entryCount], ['clear', 0]);
  await log.initiate({ ...begun, id: 'job 8' });
  assert.equal(log.identity?.id, 'job 8');
  assert.deepEqual(await all(log.entries()), []);
});

test('a run ends where the stream, the chunk, the order or a fixed length changes', () => {
  const record: LoggedRecord = {
    ...{ stream: idOf(1), chunk: idOf(2), part: 4, bytes: 512, recordBytes: 512, isLast: false },
    ...{ object: 10, hint: 9, receivedMs: 1, writtenMs: 2 },
  };
  const run = runOf(record);
  const next = { ...record, part: 5, object: 11, writtenMs: 3 };
  assert.deepEqual(extendRun(run, next), { ...run, records: 2, bytes: 1024, writtenMs: 3 });
  for (const other of [
    { stream: idOf(3) },
    { chunk: idOf(3) },
    { part: 6 },
    { object: 12 },
    { bytes: 100 },
  ])
    assert.equal(extendRun(run, { ...next, ...other }), undefined);
  assert.equal(extendRun({ ...run, isLast: true }, next), undefined);
});

test('the log of a tape of 18 TB has at most 200 MB, and one page of it is in memory', async () => {
  // Records of 1 MiB, runs of 4 of them, eight streams in turn, chunks of 64 records.
  const RECORD_BYTES = 1 << 20;
  const sampleRuns = 100_000;
  const writer = new LogPageWriter(VOLUME, 0);
  const parts = Array.from({ length: 8 }, () => 0);
  let bytes = 0;
  let object = 4;
  for (let i = 0; i < sampleRuns; i++) {
    const stream = i % 8;
    const part = parts[stream] as number;
    const ms = 1_790_000_000_000 + i * 14;
    writer.add({
      ...{ kind: 'run', stream: idOf(stream), chunk: idOf(1 + Math.floor(part / 64) * 8 + stream) },
      ...{
        part: part % 64,
        records: 4,
        bytes: 4 * RECORD_BYTES - (i % 977),
        recordBytes: 0,
        object,
      },
      ...{ isLast: part % 64 === 60, receivedMs: ms - (i % 90), writtenMs: ms },
      hint: object * (RECORD_BYTES + 8),
    });
    parts[stream] = part + 4;
    object += 4;
    if (writer.isFull) bytes += writer.finish(crcOf).length;
  }
  bytes += writer.finish(crcOf).length;
  const runs = 18e12 / (4 * RECORD_BYTES);
  const whole = (bytes / sampleRuns) * runs;
  assert(whole < 200e6, `${Math.round(whole / 1e6)} MB`);
  assert(whole > 20e6, 'it was counted');
});

test('rates, run lengths and gaps are told stream by stream', async () => {
  const run = (stream: number, object: number, records: number, ms: number): LogEntry => ({
    ...{ kind: 'run', stream: idOf(stream), chunk: idOf(9), part: 0, records, recordBytes: 0 },
    ...{ bytes: records * 1000, object, isLast: false, receivedMs: ms, writtenMs: ms + 10 },
  });
  const entries: LogEntry[] = [
    run(1, 0, 4, 0),
    run(2, 4, 2, 100),
    run(1, 6, 6, 200),
    { kind: 'marks', object: 12, count: 2, writtenMs: 300 },
    { kind: 'synchronised', object: 14, writtenMs: 300 },
    run(2, 14, 1, 990),
  ];
  const figures = await writeLogFigures(entries);
  assert.deepEqual(
    [figures.records, figures.bytes, figures.marks, figures.synchronisations],
    [13, 13_000, 2, 1],
  );
  const [one, two] = figures.streams;
  assert.deepEqual([one?.runs, one?.runAverage, one?.runLongest], [2, 5, 6]);
  assert.deepEqual([one?.gapAverage, one?.gapLongest, one?.gapLongestMs], [2, 2, 190]);
  assert.deepEqual([two?.gapAverage, two?.gapLongestMs, two?.delayMs], [8, 880, 10]);
  for (const { slices, bytes } of figures.streams)
    assert.equal(
      slices.reduce((sum, slice) => sum + slice.bytes, 0),
      bytes,
    );
  const sums = one?.slices.reduce(
    ([records, runs, gaps], slice) => {
      return [records + slice.records, runs + slice.runs, gaps + slice.gaps] as const;
    },
    [0, 0, 0] as readonly [number, number, number],
  );
  assert.deepEqual(sums, [10, 2, 2], 'each run is counted in its slice, with the gap before it');
  assert.equal(one?.bytesPerSecond, (10_000 * 1000) / 210);

  const nameOf = (stream: string): string => (stream === idOf(1) ? 'a<b>&"c"\u0007' : stream);
  const svg = logFiguresSvg(figures, nameOf, 'volume T1');
  assert.equal(svg.match(/<polygon /g)?.length, 2);
  assert(svg.includes('a&lt;b&gt;&amp;&quot;c&quot;?'));
  assert(!/NaN|Infinity|undefined/.test(svg));
  assert(svg.includes('2 runs of 5.0 records, gaps of 2.0'));
  assert.match(logEntryText(entries[0] as LogEntry, nameOf), / 4 +3\.91 KiB +0 +00000000 {2}a</);
  assert.equal(logEntryJson(entries[1] as LogEntry, nameOf).name, idOf(2));
});

test('the figures of a long log take no more room than those of a short one', async () => {
  const entries = function* (): Generator<LogEntry> {
    for (let i = 0; i < 50_000; i++) {
      const ms = i * 1000;
      yield {
        ...{ kind: 'run', stream: idOf(i % 700), chunk: idOf(1), part: 0, records: 1, bytes: 10 },
        ...{ recordBytes: 0, object: i, isLast: false, receivedMs: ms, writtenMs: ms },
      };
    }
  };
  const figures = await writeLogFigures(entries(), 100);
  assert.equal(figures.streams.length, 101);
  assert.equal(figures.bytes, 500_000);
  const slices = figures.streams.map((one) => one.slices.length);
  assert(Math.max(...slices) <= 240);
  assert.equal(
    figures.streams.flatMap((one) => one.slices).reduce((sum, { bytes }) => sum + bytes, 0),
    500_000,
  );
});
