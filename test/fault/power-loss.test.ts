/**
 * Files in memory lose what a disk may lose when the power fails, and nothing that was synced.
 *
 * Method: the same few steps, then a loss, for many seeds; the set of outcomes is what is asserted,
 * so that a test of a commit order on top of this can trust that the bad outcomes do occur.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryFiles, type PowerLoss, seededRandom } from '../../src/host/fake/mod.ts';
import { CWD, errnoName, newListing } from '../../src/host/mod.ts';

const SEEDS = 60;
const BYTES: Uint8Array = Buffer.from('content');

function createFile(files: MemoryFiles, path: string, synced: boolean): void {
  const fd = files.createExclusive(CWD, path, 0o600);
  assert.equal(files.write(fd, BYTES, 0, BYTES.length, 0), BYTES.length);
  if (synced) assert.equal(files.sync(fd), 0);
  files.close(fd);
}

function syncDirectory(files: MemoryFiles, path: string): void {
  const fd = files.openDirectory(CWD, path);
  assert.equal(files.sync(fd), 0);
  files.close(fd);
}

/** `content`, `zeros`, `empty`, or an error's name. */
function look(files: MemoryFiles, path: string): string {
  const fd = files.openRead(CWD, path);
  if (fd < 0) return errnoName(fd);
  const bytes = Buffer.alloc(16);
  const length = files.read(fd, bytes, 0, 16, 0);
  files.close(fd);
  const text = bytes.toString('latin1', 0, length);
  return text === '' ? 'empty' : text === '\0'.repeat(BYTES.length) ? 'zeros' : text;
}

/** The outcomes that occur, sorted. */
function outcomes(
  loss: PowerLoss,
  steps: (files: MemoryFiles) => void,
  seen: (files: MemoryFiles) => string,
): string[] {
  const found = new Set<string>();
  for (let seed = 0; seed < SEEDS; seed++) {
    const files = new MemoryFiles();
    files.makeDirectory(CWD, '/a', 0o700);
    files.makeDirectory(CWD, '/b', 0o700);
    syncDirectory(files, '/');
    steps(files);
    files.losePower(seededRandom(seed), loss);
    assert.equal(files.handleCount, 0);
    found.add(seen(files));
  }
  return [...found].sort();
}

const BY_DIRECTORY: PowerLoss = { order: 'directory' };
const BY_JOURNAL: PowerLoss = { order: 'journal' };

test('what was synced, content and name, is there', () => {
  for (const loss of [BY_DIRECTORY, BY_JOURNAL]) {
    const steps = (files: MemoryFiles): void => {
      createFile(files, '/a/file', true);
      syncDirectory(files, '/a');
    };
    assert.deepEqual(
      outcomes(loss, steps, (files) => look(files, '/a/file')),
      ['content'],
    );
  }
});

test('a name without a synced directory may go, a content without a sync may be anything', () => {
  const nameOnly = (files: MemoryFiles): void => createFile(files, '/a/file', true);
  const seen = (files: MemoryFiles): string => look(files, '/a/file');
  assert.deepEqual(outcomes(BY_DIRECTORY, nameOnly, seen), ['ENOENT', 'content']);
  const contentLost = (files: MemoryFiles): void => {
    createFile(files, '/a/file', false);
    syncDirectory(files, '/a');
  };
  assert.deepEqual(outcomes(BY_DIRECTORY, contentLost, seen), ['content', 'empty', 'zeros']);
});

test('what is written after a sync may go, what was synced stays', () => {
  const steps = (files: MemoryFiles): void => {
    createFile(files, '/a/file', true);
    syncDirectory(files, '/a');
    const fd = files.openWrite(CWD, '/a/file');
    files.write(fd, Buffer.from('CONTENT'), 0, 7, 0);
    files.close(fd);
  };
  const seen = outcomes(BY_DIRECTORY, steps, (files) => look(files, '/a/file'));
  assert.deepEqual(seen, ['CONTENT', 'content']);
});

test('a rename within a directory is there or not, never half', () => {
  const steps = (files: MemoryFiles): void => {
    createFile(files, '/a/old', true);
    syncDirectory(files, '/a');
    files.rename(CWD, '/a/old', CWD, '/a/new');
  };
  const seen = (files: MemoryFiles): string => `${look(files, '/a/old')} ${look(files, '/a/new')}`;
  const expected = ['ENOENT content', 'content ENOENT'];
  assert.deepEqual(outcomes(BY_DIRECTORY, steps, seen), expected);
  assert.deepEqual(outcomes(BY_JOURNAL, steps, seen), expected);
});

test('a move to another directory may lose the file, unless there is a journal', () => {
  const steps = (files: MemoryFiles): void => {
    createFile(files, '/a/file', true);
    syncDirectory(files, '/a');
    files.link(CWD, '/a/file', CWD, '/b/file');
    files.remove(CWD, '/a/file');
  };
  const seen = (files: MemoryFiles): string =>
    [look(files, '/a/file'), look(files, '/b/file')].includes('content') ? 'kept' : 'lost';
  assert.deepEqual(outcomes(BY_DIRECTORY, steps, seen), ['kept', 'lost']);
  assert.deepEqual(outcomes(BY_JOURNAL, steps, seen), ['kept']);
});

test('links are counted again after a loss, and a removed file may come back', () => {
  const steps = (files: MemoryFiles): void => {
    createFile(files, '/a/file', true);
    syncDirectory(files, '/a');
    files.remove(CWD, '/a/file');
  };
  const seen = (files: MemoryFiles): string => {
    const fd = files.openDirectory(CWD, '/a');
    const listing = newListing();
    files.list(fd, listing);
    files.close(fd);
    const result = files.remove(CWD, '/a/file');
    return `${listing.names.join()} ${result === 0 ? 'removed' : errnoName(result)}`;
  };
  assert.deepEqual(outcomes(BY_DIRECTORY, steps, seen), [' ENOENT', 'file removed']);
});

test('files in memory have as much room as they are given', () => {
  const files = new MemoryFiles({ capacityBytes: 3 * 4096 });
  const fd = files.createExclusive(CWD, '/file', 0o600);
  const bytes = Buffer.alloc(8192, 1);
  assert.equal(files.freeBytes(fd), 12_288);
  assert.equal(files.write(fd, bytes, 0, 8192, 0), 8192);
  assert.equal(errnoName(files.write(fd, bytes, 0, 8192, 8192)), 'ENOSPC');
  assert.equal(files.write(fd, bytes, 0, 8192, 4096), 8192);
  assert.equal(files.freeBytes(fd), 0);
  files.capacityBytes = 2 ** 20;
  assert.equal(files.write(fd, bytes, 0, 8192, 12_288), 8192);
  files.close(fd);
});
