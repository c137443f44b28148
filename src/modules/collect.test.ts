/**
 * Goal: whatever a file has become since the walk looked at it, its entry is valid and true.
 * Method: collectors in a pipe whose head (test/fault/fixtures/plan-head.ts) hands them plans that
 * are out of date, one after the other; the results are read entry by entry.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/commands.ts';
import type { GivenUnit, PlanHeadOptions } from '../../test/fault/fixtures/plan-head.ts';
import { noise, prose } from '../../test/tree-make.ts';
import { LIMITS } from '../base/limits.ts';
import { CONTENT_RECORD_BYTES, contentIsHole, contentLength } from '../format/content.ts';
import { checkEntry, ENTRY, ENTRY_FLAG, type EntryFields, EntryView } from '../format/entry.ts';
import { createSessionTable } from '../index/session-table.ts';
import { startPipe } from '../pipe/mod.ts';
import type { CollectOptions } from './collect.ts';
import { type BatchResult, FILE_UNIT_BYTES_MAX, UNIT } from './unit.ts';
import { COLLECT_WINDOW_BYTES } from './window-bytes.ts';

const scratch = scratchFolder();
const file = (name: string): string => join(scratch, name);

/** What the walk would have seen of a file of this size before all of these tests. */
function fieldsOf(size: number): EntryFields {
  const zero = { depth: 0, uid: 0, gid: 0, inode: 1, deviceMajor: 0, deviceMinor: 0 };
  const times = { mtimeSeconds: 1, mtimeNanos: 1, ctimeSeconds: 1, ctimeNanos: 1 };
  return { kind: ENTRY.file, flags: 0, mode: 0o644, links: 1, size, ...zero, ...times };
}

/** A plan that agrees with what the file is now. */
function truth(name: string): EntryFields {
  const { size, mtimeNs, ctimeNs, uid, gid, ino } = statSync(file(name), { bigint: true });
  const part = (time: bigint): [number, number] => [
    Number(time / 10n ** 9n),
    Number(time % 10n ** 9n),
  ];
  const [mtimeSeconds, mtimeNanos] = part(mtimeNs);
  const [ctimeSeconds, ctimeNanos] = part(ctimeNs);
  const times = { mtimeSeconds, mtimeNanos, ctimeSeconds, ctimeNanos };
  return {
    ...fieldsOf(Number(size)),
    ...times,
    uid: Number(uid),
    gid: Number(gid),
    inode: Number(ino),
  };
}

const whole = (name: string, fields: EntryFields): GivenUnit => {
  return { kind: UNIT.file, name, fields, start: 0, end: fields.size };
};

async function collect(...plans: readonly (readonly GivenUnit[])[]): Promise<BatchResult[]> {
  const results: BatchResult[] = [];
  const key = Buffer.alloc(32, 7);
  const index = { segments: [], chunkIds: [], used: new SharedArrayBuffer(4) };
  const options: CollectOptions = {
    nameKey: key,
    cutKey: key,
    indexKey: key,
    index,
    session: createSessionTable(),
  };
  const head: PlanHeadOptions = { directory: scratch, plans };
  const url = (path: string): URL => new URL(path, import.meta.url);
  const pipe = await startPipe({
    maxBuffers: 12,
    payloadBytes: LIMITS.blockRawBytesDefault,
    directoryBytes: LIMITS.blobsPerBlockMax * 40,
    sharedWords: 8,
    links: [['walk', 'work']],
    stages: [
      {
        name: 'walk',
        modules: [{ module: url('../../test/fault/fixtures/plan-head.ts'), options: head }],
      },
      {
        name: 'work',
        modules: [{ module: url('./collect.ts'), options }],
        allocates: true,
        windowBytes: COLLECT_WINDOW_BYTES,
      },
      { name: 'place', modules: [{ module: url('./discard.ts') }] },
    ],
    onMessage: (_stage, _instance, message) => void results.push(message as BatchResult),
  });
  await pipe.done;
  return results;
}

/** The only entry of a result, checked as a reader of the manifest checks it. */
function entryOf(result: BatchResult | undefined): EntryView {
  const bytes = Buffer.from(result?.bytes ?? new ArrayBuffer(0));
  assert.equal(checkEntry(bytes, 0, bytes.length), undefined);
  return new EntryView().set(bytes, 0);
}
function contentBytes(entry: EntryView): number {
  let sum = 0;
  for (let i = 0; i < entry.contentCount; i++) {
    sum += contentLength(entry.bytes, entry.contentAt + i * CONTENT_RECORD_BYTES);
  }
  return sum;
}

test('a file that grew after the walk saw it is taken as it is, and looked at again next time', async () => {
  writeFileSync(file('grown'), noise(2_000_000, 'grown'));
  const [result] = await collect([whole('grown', fieldsOf(100))]);
  const entry = entryOf(result);
  assert.deepEqual(result?.problems, []);
  assert.deepEqual([entry.size, contentBytes(entry)], [2_000_000, 2_000_000]);
  assert.equal(entry.mtimeSeconds, truth('grown').mtimeSeconds);
  assert.equal(entry.flags, ENTRY_FLAG.recent);
});

test('a file that outgrew one entry is cut off where an entry ends, and said to be incomplete', async () => {
  writeFileSync(file('outgrown'), Buffer.alloc(0));
  // Noise would take long: blocks of noise that repeat are cut like noise.
  const block = noise(16 * 1024 * 1024, 'outgrown');
  for (let i = 0; i < 20; i++) writeFileSync(file('outgrown'), block, { flag: 'a' });
  const [result] = await collect([whole('outgrown', fieldsOf(1_000_000))]);
  const entry = entryOf(result);
  assert.deepEqual([entry.size, contentBytes(entry)], [FILE_UNIT_BYTES_MAX, FILE_UNIT_BYTES_MAX]);
  assert.equal(entry.flags, ENTRY_FLAG.recent | ENTRY_FLAG.incomplete);
  assert.deepEqual(
    result?.problems.map(({ omitted, error }) => [omitted, error.code]),
    [[false, 'SOURCE_CHANGED']],
  );
});

test('a file that shrank, or emptied, is what is left of it', async () => {
  writeFileSync(file('shrunk'), prose(700_000, 'shrunk'));
  writeFileSync(file('emptied'), '');
  const [shrunk, emptied] = await collect(
    [whole('shrunk', fieldsOf(3_000_000))],
    [whole('emptied', fieldsOf(3_000_000))],
  );
  assert.deepEqual([entryOf(shrunk).size, contentBytes(entryOf(shrunk))], [700_000, 700_000]);
  assert.deepEqual([entryOf(emptied).size, entryOf(emptied).contentCount], [0, 0]);
  assert.deepEqual([shrunk?.problems, emptied?.problems], [[], []]);
});

test('a file that gives fewer bytes than its status says is as long as what it gave', async () => {
  // Such are files of the kernel; here every first reading ends at the half.
  for (const size of [1000, 900_000]) {
    writeFileSync(file(`less${size}`), prose(size, 'less'));
    process.env.PENSTOCK_TEST = '1';
    process.env.PENSTOCK_FAULT = 'read:torn';
    const [result] = await collect([whole(`less${size}`, truth(`less${size}`))]);
    delete process.env.PENSTOCK_TEST;
    const entry = entryOf(result);
    assert.deepEqual([entry.size, contentBytes(entry)], [size / 2, size / 2]);
  }
});

test('what is no file any more is left out and said to have changed, without blocking', async () => {
  assert.equal(spawnSync('mkfifo', [file('fifo')]).status, 0);
  spawnSync('mkdir', [file('directory')]);
  spawnSync('ln', ['-s', 'elsewhere', file('link')]);
  const names = ['fifo', 'directory', 'link', 'gone'];
  for (const size of [100, 3_000_000]) {
    const [result] = await collect(names.map((name) => whole(name, fieldsOf(size))));
    assert.equal(result?.bytes.byteLength, 0);
    assert.deepEqual(
      result?.problems.map(({ unit, omitted, error }) => [names[unit], omitted, error.code]),
      names.map((name) => [name, true, 'SOURCE_CHANGED']),
    );
  }
});

test('every region covers its range, whatever the file has become', async () => {
  const region = (name: string, size: number, start: number, end: number): GivenUnit[] => [
    {
      kind: UNIT.region,
      name,
      fields: { ...fieldsOf(size), flags: ENTRY_FLAG.sparse },
      start,
      end,
    },
  ];
  writeFileSync(file('region'), prose(1_000_000, 'region'));
  const results = await collect(
    region('region', 3_000_000, 0, 2_000_000),
    region('region', 3_000_000, 2_000_000, 3_000_000),
    region('region', 1_000_000, 300_000, 800_000),
  );
  const covered = results.map(({ bytes }) => {
    const records = Buffer.from(bytes);
    const lengths: number[] = [];
    for (let at = 0; at < records.length; at += CONTENT_RECORD_BYTES) {
      lengths.push(
        contentIsHole(records, at) ? -contentLength(records, at) : contentLength(records, at),
      );
    }
    return lengths;
  });
  const sum = (lengths: readonly number[] = []): number =>
    lengths.reduce((total, length) => total + Math.abs(length), 0);
  assert.deepEqual(covered.map(sum), [2_000_000, 1_000_000, 500_000]);
  assert.equal(covered[0]?.at(-1), -1_000_000);
  assert.deepEqual(covered[1], [-1_000_000]);
  for (const { problems } of results) {
    assert.deepEqual(
      problems.map(({ omitted }) => omitted),
      [false],
    );
  }
});
