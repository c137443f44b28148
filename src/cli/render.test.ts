/**
 * Goal: listings are exact and safe to print (U6). Method: known facts, whole lines compared.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import {
  type ArchiveFacts,
  archiveRecord,
  archiveTable,
  differenceLine,
  differenceRecord,
  type EntryFacts,
  entryLine,
  entryRecord,
  findLine,
  findRecord,
  keyRecord,
  keyTable,
  LongListing,
  localTime,
  modeText,
  shortIds,
  utcTime,
} from './render.ts';

before(() => {
  process.env.TZ = 'Europe/Berlin';
});

const ARCHIVE: ArchiveFacts = {
  id: '3fa9c1de00112233',
  timeMs: Date.UTC(2026, 10, 21, 4, 35, 59, 7),
  name: 'laptop',
  host: 'atlas',
  files: 78_600,
  bytes: 1_395_864_371,
  storedBytes: 216_006_656,
  paths: ['/home/me', '/etc/\xff\n'],
};

const ENTRY: EntryFacts = {
  path: 'home/me/notes.txt',
  kind: 'file',
  mode: 0o644,
  uid: 1000,
  gid: 100,
  owner: 'me',
  bytes: 1234,
  links: 1,
  mtimeSeconds: 1_795_235_759,
  mtimeNanos: 7_000_001,
};

test('a mode is shown as ls shows it, with the set-id and sticky bits', () => {
  assert.equal(modeText('directory', 0o755), 'drwxr-xr-x');
  assert.equal(modeText('file', 0o4755), '-rwsr-xr-x');
  assert.equal(modeText('file', 0o4644), '-rwSr--r--');
  assert.equal(modeText('file', 0o2755), '-rwxr-sr-x');
  assert.equal(modeText('file', 0o2744), '-rwxr-Sr--');
  assert.equal(modeText('directory', 0o1777), 'drwxrwxrwt');
  assert.equal(modeText('directory', 0o1776), 'drwxrwxrwT');
  assert.equal(modeText('symlink', 0o777), 'lrwxrwxrwx');
  assert.equal(modeText('character-device', 0o600), 'crw-------');
  assert.equal(modeText('block-device', 0), 'b---------');
  assert.equal(modeText('fifo', 0o7000), 'p--S--S--T');
  assert.equal(modeText('socket', 0o111), 's--x--x--x');
});

test('times are local for people and UTC to the nanosecond for programs, whatever the year', () => {
  assert.equal(localTime(1_795_235_759), '2026-11-21 05:35');
  assert.equal(localTime(-1), '1970-01-01 00:59');
  assert.equal(localTime(1e15), '@1000000000000000');
  assert.equal(utcTime(1_795_235_759, 7_000_001), '2026-11-21T04:35:59.007000001Z');
  assert.equal(utcTime(-1, 999_999_999), '1969-12-31T23:59:59.999999999Z');
  assert.equal(utcTime(2 ** 34, 0), '2514-05-30T01:53:04.000000000Z');
  assert.equal(utcTime(1e15, 5), '@1000000000000000.000000005');
});

test('a short id has eight characters, and more where ids begin alike', () => {
  assert.deepEqual(shortIds(['aaaaaaaabbcc', 'aaaaaaaabbdd', 'cafe00112233']), [
    'aaaaaaaabbc',
    'aaaaaaaabbd',
    'cafe0011',
  ]);
  assert.deepEqual(shortIds(['ab', 'abc']), ['ab', 'abc']);
  assert.deepEqual(shortIds(['aaaaaaaabbcc', 'aaaaaaaabbcc']), ['aaaaaaaa', 'aaaaaaaa']);
  assert.deepEqual(shortIds([]), []);
});

test('archives are a table; strange names are escaped', () => {
  const partial = {
    ...ARCHIVE,
    id: '77',
    name: 'データ',
    isPartial: true,
    files: 1,
    bytes: 0,
    paths: ['/a'],
  };
  assert.deepEqual(archiveTable([ARCHIVE, partial]), [
    'ID        TIME              NAME              HOST    FILES      SIZE     STORED  PATHS',
    '3fa9c1de  2026-11-21 05:35  laptop            atlas  78,600  1.30 GiB  206.0 MiB' +
      '  /home/me /etc/\\xff\\x0a',
    '77        2026-11-21 05:35  データ (partial)  atlas       1       0 B  206.0 MiB  /a',
  ]);
  assert.deepEqual(archiveRecord(ARCHIVE), {
    type: 'archive',
    id: '3fa9c1de00112233',
    time: '2026-11-21T04:35:59.007000000Z',
    name: 'laptop',
    host: 'atlas',
    files: 78_600,
    bytes: 1_395_864_371,
    storedBytes: 216_006_656,
    paths: [{ path: '/home/me' }, { path: '/etc/\ufffd\n', pathBytes: 'L2V0Yy//Cg==' }],
    partial: false,
  });
});

test('ls -l shows owners by name or number, devices, targets, and what is incomplete', () => {
  const listing = new LongListing();
  assert.equal(
    listing.line(ENTRY),
    '-rw-r--r-- me   100       1234 2026-11-21 05:35 home/me/notes.txt',
  );
  const device: EntryFacts = {
    ...ENTRY,
    kind: 'block-device',
    mode: 0o660,
    nodeMajor: 8,
    nodeMinor: 1,
  };
  assert.equal(
    listing.line(device),
    'brw-rw---- me   100       8, 1 2026-11-21 05:35 home/me/notes.txt',
  );
  const link: EntryFacts = {
    ...ENTRY,
    kind: 'symlink',
    mode: 0o777,
    linkTarget: '../\x1b',
    owner: 'longowner',
  };
  assert.equal(
    listing.line(link),
    'lrwxrwxrwx longowner 100       1234 2026-11-21 05:35 home/me/notes.txt -> ../\\x1b',
  );
  const { owner: _owner, ...nameless } = ENTRY;
  assert.equal(
    listing.line({ ...nameless, kind: 'directory', isIncomplete: true }),
    'drw-r--r-- 1000      100       1234 2026-11-21 05:35 home/me/notes.txt/  (incomplete)',
  );
});

test('an entry for programs has everything, with bytes where text cannot say it', () => {
  assert.equal(entryLine({ ...ENTRY, kind: 'directory', path: '/' }), '/');
  assert.deepEqual(
    entryRecord({
      ...ENTRY,
      kind: 'symlink',
      path: 'a\xe4',
      linkTarget: '\xe4',
      isIncomplete: true,
    }),
    {
      type: 'entry',
      path: 'a\ufffd',
      pathBytes: 'YeQ=',
      kind: 'symlink',
      mode: '0644',
      uid: 1000,
      gid: 100,
      owner: 'me',
      bytes: 1234,
      links: 1,
      mtime: '2026-11-21T04:35:59.007000001Z',
      target: '\ufffd',
      targetBytes: '5A==',
      incomplete: true,
    },
  );
});

test('differences say what changed', () => {
  const changed = {
    path: 'etc/fstab',
    change: 'modified',
    kind: 'file',
    aspects: ['content', 'time'],
    bytesBefore: 1024,
    bytesAfter: 2048,
  } as const;
  assert.equal(differenceLine(changed), 'M etc/fstab  (content, time; 1.00 KiB -> 2.00 KiB)');
  assert.equal(
    differenceLine({ ...changed, bytesAfter: 1024, aspects: ['mode'] }),
    'M etc/fstab  (mode)',
  );
  assert.equal(differenceLine({ ...changed, change: 'added', kind: 'directory' }), '+ etc/fstab/');
  assert.equal(differenceLine({ ...changed, change: 'removed' }), '- etc/fstab');
  assert.deepEqual(differenceRecord(changed), { type: 'difference', ...changed });
});

test('finds name the archive', () => {
  assert.equal(
    findLine('3fa9c1de', ARCHIVE, ENTRY),
    '3fa9c1de  2026-11-21 05:35  home/me/notes.txt',
  );
  assert.match(
    findLine('3fa9c1de', ARCHIVE, ENTRY, new LongListing()),
    /^3fa9c1de {2}\S+ \S+ {2}-rw-r--r-- me /,
  );
  const record = findRecord(ARCHIVE, ENTRY);
  assert.equal(record.archive, ARCHIVE.id);
  assert.equal(record.path, 'home/me/notes.txt');
});

test('keys are a table in which the one in use is marked', () => {
  const key = {
    id: '7c1e00112233',
    label: 'in the safe',
    createdMs: ARCHIVE.timeMs,
    madeBy: 'me@atlas',
    isCurrent: true,
  };
  assert.deepEqual(keyTable([key, { ...key, id: 'aa', label: '', isCurrent: false }]), [
    '  ID        MADE              BY        LABEL',
    '* 7c1e0011  2026-11-21 05:35  me@atlas  in the safe',
    '  aa        2026-11-21 05:35  me@atlas',
  ]);
  assert.deepEqual(keyRecord(key), {
    type: 'key',
    id: '7c1e00112233',
    label: 'in the safe',
    created: '2026-11-21T04:35:59.007000000Z',
    madeBy: 'me@atlas',
    current: true,
  });
});
