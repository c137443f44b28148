/**
 * Goal: what is said at the end is true and complete. Method: known facts, whole texts compared.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BackupFacts,
  backupSummary,
  type CheckFacts,
  checkSummary,
  damageLines,
  damageRecord,
  plural,
  pruneSummary,
  restoreSummary,
  verdictRecord,
  verdictTable,
} from './render-summary.ts';

const BACKUP: BackupFacts = {
  archiveId: '3fa9c1de00112233',
  name: 'work',
  filesNew: 10,
  filesChanged: 2,
  filesUnchanged: 1000,
  directories: 1,
  others: 3,
  failed: 0,
  bytes: 3 * 1024 ** 3,
  bytesRead: 1024 ** 2,
  bytesNew: 512 * 1024,
  bytesStored: 128 * 1024,
  elapsedMs: 2000,
};

test('a backup says what it stored', () => {
  const [record, text] = backupSummary([BACKUP]);
  assert.deepEqual(text.split('\n'), [
    'archive 3fa9c1de of work',
    '  1,012 files (10 new, 2 changed, 1,000 unchanged), 1 directory, 3 others',
    '  3.00 GiB, of which 1.00 MiB read, 512.0 KiB new, stored in 128.0 KiB',
    '  in 2.0 s (512.0 KiB/s)',
  ]);
  assert.equal(record.archive, BACKUP.archiveId);
  assert.equal(record.files, 1012);
  assert.equal(record.bytesStored, 128 * 1024);
  assert(!('archiveId' in record) && !('dryRun' in record));
});

test('a dry run and failed items are said', () => {
  const [record, text] = backupSummary([{ ...BACKUP, archiveId: undefined, failed: 1 }]);
  assert.match(text, /^dry run, nothing stored: work\n/);
  assert.match(text, /to be stored in 128\.0 KiB/);
  assert.match(text, /\n {2}1 item could not be read as they were: see the warnings$/);
  assert.equal(record.dryRun, true);
  assert(!('archive' in record));
});

test('a restore says where to, and what it left alone', () => {
  const [record, text] = restoreSummary({
    archiveId: '3fa9c1de00112233',
    target: '/tmp/\xff',
    files: 1,
    directories: 2,
    others: 0,
    skipped: 4,
    failed: 5,
    bytes: 2048,
    isDryRun: false,
    elapsedMs: 1000,
  });
  assert.deepEqual(text.split('\n'), [
    'restored archive 3fa9c1de to /tmp/\\xff',
    '  1 file, 2 directories, 0 others; 2.00 KiB in 1.0 s (2.00 KiB/s)',
    '  4 items left as they were (--overwrite)',
    '  5 items could not be restored: see the warnings',
  ]);
  assert.equal(record.targetBytes, 'L3RtcC//');
  assert.equal(record.dryRun, false);
});

const CHECK: CheckFacts = {
  archives: 1,
  chunks: 20,
  indexSegments: 2,
  blobs: 3000,
  bytesRead: 0,
  isDataRead: false,
  damaged: 0,
  orphanChunks: 0,
  elapsedMs: 500,
};

test('a check says whether there is damage, and whether the data was read', () => {
  assert.deepEqual(checkSummary(CHECK)[1].split('\n'), [
    'no damage found',
    '  1 archive, 20 chunks, 2 index segments, 3,000 blobs',
    '  data not read (--read-data does), in 0.5 s',
  ]);
  const [record, text] = checkSummary({
    ...CHECK,
    isDataRead: true,
    bytesRead: 1024,
    damaged: 1,
    orphanChunks: 2,
  });
  assert.deepEqual(text.split('\n'), [
    '1 damaged object found',
    '  1 archive, 20 chunks, 2 index segments, 3,000 blobs',
    '  all data read: 1.00 KiB in 0.5 s (2.00 KiB/s)',
    '  2 chunks without an archive (`penstock prune` removes them)',
  ]);
  assert.equal(record.damaged, 1);
});

test('damage is named with the archives and paths that it concerns', () => {
  const damage = {
    what: 'chunk',
    id: 'ab12',
    message: 'block 3: seal does not match',
    archives: ['3fa9c1de00112233'],
    paths: ['a\nb', 'c\xff'],
    pathsTotal: 12,
  };
  assert.deepEqual(damageLines(damage), [
    'chunk ab12: block 3: seal does not match',
    '  concerns 1 archive: 3fa9c1de',
    '  a\\x0ab',
    '  c\\xff',
    '  and 10 other paths',
  ]);
  assert.deepEqual(damageRecord(damage).paths, [
    { path: 'a\nb' },
    { path: 'c\ufffd', pathBytes: 'Y/8=' },
  ]);
  assert.deepEqual(damageLines({ ...damage, archives: [], paths: [], pathsTotal: 0 }).length, 1);
});

test('forget says of each archive whether it stays and why', () => {
  const archive = {
    id: '3fa9c1de0011',
    timeMs: 0,
    name: 'work',
    host: 'h',
    files: 1,
    bytes: 1,
    paths: [],
  };
  const kept = { archive, isKept: true, reasons: ['last', 'daily'] };
  const removed = { archive: { ...archive, id: '77' }, isKept: false, reasons: [] };
  const [title, first, second] = verdictTable([kept, removed]);
  assert.match(title ?? '', /^ +ID +TIME +NAME +KEPT BY$/);
  assert.match(first ?? '', /^keep +3fa9c1de .* work +last, daily$/);
  assert.match(second ?? '', /^remove +77 .* work$/);
  assert.deepEqual(verdictRecord(kept), {
    type: 'verdict',
    archive: '3fa9c1de0011',
    name: 'work',
    kept: true,
    reasons: ['last', 'daily'],
  });
});

test('prune says what is free now and later', () => {
  const facts = {
    chunksDeleted: 1,
    chunksRewritten: 2,
    chunksCondemned: 3,
    bytesFreed: 1024,
    bytesCondemned: 2048,
    bytesStored: 10_240,
    bytesUnused: 512,
    isDryRun: false,
    elapsedMs: 100,
  };
  assert.deepEqual(pruneSummary(facts)[1].split('\n'), [
    'freed 1.00 KiB, 2.00 KiB later, in 0.1 s',
    '  1 chunk deleted, 2 rewritten, 3 condemned',
    '  10.0 KiB stored, 5.0 % of it unused',
  ]);
  const empty = pruneSummary({ ...facts, bytesStored: 0, bytesUnused: 0, isDryRun: true });
  assert.match(empty[1], /^dry run, nothing done: would free 1\.00 KiB/);
  assert.match(empty[1], /0 B stored, 0\.0 % of it unused/);
});

test('numbers and words agree', () => {
  assert.equal(plural(1, 'directory', 'directories'), '1 directory');
  assert.equal(plural(0, 'file'), '0 files');
  assert.equal(plural(78_600, 'file'), '78,600 files');
});
