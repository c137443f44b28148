/**
 * Goal: whatever a new file gets from its directory, its user and the umask, in the end it has the owner
 * and the mode of its entry; and what it has already is not set again.
 * Method: real directories; the calls are counted, the files looked at.
 */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, closeSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ENTRY, EntryView, EntryWriter } from '../format/entry.ts';
import { CWD, type Files, openFiles } from '../host/mod.ts';
import { CreatedFiles } from './created-files.ts';
import { MetadataWriter } from './file-metadata.ts';

const isRoot = process.getuid?.() === 0;
const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

function entryOf(name: string, uid: number, gid: number, mode: number): EntryView {
  const writer = new EntryWriter();
  writer.begin(
    {
      kind: ENTRY.file,
      flags: 0,
      mode,
      depth: 0,
      uid,
      gid,
      mtimeSeconds: 1,
      mtimeNanos: 2,
      ctimeSeconds: 0,
      ctimeNanos: 0,
      links: 1,
      inode: 1,
      size: 0,
      deviceMajor: 0,
      deviceMinor: 0,
    },
    name,
  );
  writer.end();
  return new EntryView().set(writer.bytes, 0);
}

/** The files of this machine, with the changes of owner and mode counted. */
function counted(): { readonly files: Files; readonly calls: { chown: number; chmod: number } } {
  const files = openFiles();
  const calls = { chown: 0, chmod: 0 };
  const counting = Object.create(files) as Files;
  counting.chownOf = (...given) => {
    calls.chown++;
    return files.chownOf(...given);
  };
  counting.chmodOf = (...given) => {
    calls.chmod++;
    return files.chmodOf(...given);
  };
  for (const name of ['createExclusive', 'statusOf', 'timesOf', 'setAttributeOf'] as const)
    counting[name] = files[name].bind(files) as never;
  return { files: counting, calls };
}

interface Wanted {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Creates a file for each, in order, and asserts what they are. Returns the calls. */
function restoreInto(
  directory: string,
  wanted: readonly Wanted[],
): { chown: number; chmod: number } {
  const { files, calls } = counted();
  const metadata = new MetadataWriter(files, { owners: true, users: [], groups: [] });
  const created = new CreatedFiles(files, metadata);
  const fd = openFiles().openDirectory(CWD, directory);
  for (const [i, { uid, gid, mode }] of wanted.entries()) {
    const entry = entryOf(`${i}`, uid, gid, mode);
    const file = created.create(fd, `${i}`, entry);
    assert(file >= 0);
    metadata.apply(file, entry, created.given);
    closeSync(file);
    const status = statSync(join(directory, `${i}`));
    assert.deepEqual([status.uid, status.gid, status.mode & 0o7777], [uid, gid, mode], `${i}`);
  }
  openFiles().close(fd);
  assert.deepEqual(metadata.refusals, {});
  return calls;
}

function scratch(context: { after(end: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-created-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('files of their creator keep what they are created with', (context) => {
  const before = process.umask(0o022);
  context.after(() => process.umask(before));
  const wanted = Array.from({ length: 20 }, () => ({ ...own, mode: 0o644 }));
  // The first is created for its user alone.
  assert.deepEqual(restoreInto(scratch(context), wanted), { chown: 0, chmod: 1 });
});

test('modes that the umask takes from are set, set-id bits too', (context) => {
  const before = process.umask(0o077);
  context.after(() => process.umask(before));
  const modes = [0o600, 0o644, 0o4755, 0o644, 0o2755, 0o000, 0o777, 0o600, 0o1777];
  restoreInto(
    scratch(context),
    modes.map((mode) => ({ ...own, mode })),
  );
});

test('owners are set where creation gives others', {
  skip: isRoot ? false : 'only root may give files away',
}, (context) => {
  const folder = scratch(context);
  const mixed = [
    { uid: 0, gid: 0, mode: 0o644 },
    { uid: 0, gid: 1234, mode: 0o644 },
    { uid: 1234, gid: 0, mode: 0o4755 },
    { uid: 0, gid: 0, mode: 0o6755 },
    { uid: 0, gid: 0, mode: 0o644 },
    { uid: 0, gid: 1234, mode: 0o640 },
  ];
  restoreInto(folder, mixed);
  // New files take the group of such a directory.
  const lending = join(folder, 'lending');
  mkdirSync(lending);
  chownSync(lending, 0, 1234);
  chmodSync(lending, 0o2775);
  restoreInto(lending, mixed);
});
