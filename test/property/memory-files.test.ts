/**
 * Files in memory answer as Linux does.
 *
 * Method: random sequences of calls on a few names go to both; every answer and, at the end, the
 * whole tree must be equal.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ByteString, fromText } from '../../src/base/bytes.ts';
import { MemoryFiles } from '../../src/host/fake/mod.ts';
import {
  CWD,
  errnoName,
  FileStatus,
  type Files,
  KIND,
  newListing,
  openFiles,
} from '../../src/host/mod.ts';

const NAMES = ['a', 'b', 'c', 'a/a', 'a/b', 'b/a', 'none/a', 'l', 'l/a', 'a/../b'];
const CALLS = [
  'makeDirectory',
  'remove',
  'removeDirectory',
  'rename',
  'renameExclusive',
  'link',
  'symlink',
  'readLink',
  'openDirectory',
  'openDirectoryFollow',
  'openThrough',
  'create',
  'write',
  'truncate',
] as const;

const step = fc.record({
  call: fc.constantFrom(...CALLS),
  name: fc.constantFrom(...NAMES),
  other: fc.constantFrom(...NAMES),
  position: fc.constantFrom(0, 1, 4096, 5000, 70_000),
  length: fc.constantFrom(0, 1, 4096, 10_000),
});

const BYTES: Uint8Array = Buffer.alloc(10_000, 'x');
const status = new FileStatus();

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** What must be equal. */
function run(files: Files, root: number, { call, name, other, position, length }: Step): unknown {
  switch (call) {
    case 'makeDirectory':
      return answer(files.makeDirectory(root, name, 0o755));
    case 'remove':
    case 'removeDirectory':
      return answer(files[call](root, name));
    case 'rename':
    case 'renameExclusive':
    case 'link':
      return answer(files[call](root, name, root, other));
    case 'symlink':
      return answer(files.symlink(name, root, other));
    case 'readLink':
      return files.readLink(root, name);
    case 'openDirectory':
    case 'openDirectoryFollow':
    case 'openThrough':
      return withHandle(files, files[call](root, name), () => 0);
    case 'create':
      return withHandle(files, files.createExclusive(root, name, 0o600), (fd) =>
        files.write(fd, BYTES, 0, length, position),
      );
    case 'write':
      return withHandle(files, files.openWrite(root, name), (fd) =>
        files.write(fd, BYTES, 0, length, position),
      );
    case 'truncate':
      return withHandle(files, files.openWrite(root, name), (fd) => files.truncate(fd, position));
  }
}

const answer = (result: number): string => (result < 0 ? errnoName(result) : 'done');

function withHandle(files: Files, fd: number, body: (fd: number) => number): string {
  if (fd < 0) return errnoName(fd);
  const result = body(fd);
  assert.equal(files.close(fd), 0);
  return answer(result);
}

/** Everything below a directory, as text. */
function describe(files: Files, parent: number, name: ByteString, path: string): string[] {
  assert.equal(files.status(parent, name, status), 0);
  const kind = status.kind;
  const links = status.nlink;
  if (kind === KIND.symlink) return [`${path} -> ${files.readLink(parent, name)}`];
  if (kind !== KIND.directory) return [`${path} ${links} ${contentOf(files, parent, name)}`];
  const fd = files.openDirectory(parent, name);
  const listing = newListing();
  assert(files.list(fd, listing) >= 0);
  const lines = [...listing.names]
    .sort()
    .flatMap((child) => describe(files, fd, child, `${path}/${child}`));
  files.close(fd);
  return [`${path} directory`, ...lines];
}

function contentOf(files: Files, parent: number, name: ByteString): string {
  const view = Buffer.alloc(100_000);
  const fd = files.openRead(parent, name);
  const length = files.read(fd, view, 0, view.length, 0);
  files.close(fd);
  const data = [...view.subarray(0, length)].filter((byte) => byte !== 0).length;
  return `${length} bytes, ${data} not zero, from ${view.indexOf(0x78)}`;
}

test('the same calls have the same answers in memory and on a disk', () => {
  const linux = openFiles();
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
      const path = mkdtempSync(join(tmpdir(), 'penstock-same-'));
      const memory = new MemoryFiles();
      memory.makeDirectory(CWD, '/place', 0o755);
      const roots = [
        linux.openDirectoryFollow(CWD, fromText(path)),
        memory.openDirectory(CWD, '/place'),
      ] as const;
      try {
        for (const each of steps) {
          assert.equal(run(memory, roots[1], each), run(linux, roots[0], each), each.call);
        }
        assert.deepEqual(describe(memory, roots[1], '.', ''), describe(linux, roots[0], '.', ''));
      } finally {
        linux.close(roots[0]);
        rmSync(path, { recursive: true });
      }
    }),
    { numRuns: 150 },
  );
});
