/**
 * What every implementation of the port `Files` must do with owners, modes, times, special files
 * and extended attributes; a part of the suite in files.ts.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import { errnoName, FileStatus, KIND, NO_ATTRIBUTES } from '../../src/host/mod.ts';
import {
  bad,
  type FilesPlace,
  type FilesSubject,
  good,
  makeFile,
  placeTest,
} from './files-place.ts';

/** Seconds that common file systems can hold: 1902 to 2445. */
const SECONDS_MIN = -(2 ** 31) + 1;
const SECONDS_MAX = 15_000_000_000;

export function filesMetadataContract(subject: FilesSubject): void {
  timeTests(subject);
  ownerTests(subject);
  nodeTests(subject);
  attributeTests(subject);
  machineTests(subject);
}

function timeTests(subject: FilesSubject): void {
  placeTest(subject, 'times come back to the nanosecond, before 1970 and after 2106', (place) => {
    const { files, root } = place;
    makeFile(place, 'a');
    good(files.symlink('a', root, 'l'));
    const fd = good(files.openWrite(root, 'a'));
    const status = new FileStatus();
    const seconds = fc.integer({ min: SECONDS_MIN, max: SECONDS_MAX });
    const nanos = fc.integer({ min: 0, max: 999_999_999 });
    const read = (): number[] => [
      status.atimeSeconds,
      status.atimeNanos,
      status.mtimeSeconds,
      status.mtimeNanos,
    ];
    fc.assert(
      fc.property(seconds, nanos, seconds, nanos, (as, an, ms, mn) => {
        good(files.timesOf(fd, as, an, ms, mn));
        good(files.statusOf(fd, status));
        assert.deepEqual(read(), [as, an, ms, mn]);
        good(files.times(root, 'l', ms, mn, as, an));
        good(files.status(root, 'l', status));
        assert.deepEqual(read(), [ms, mn, as, an]);
      }),
      {
        numRuns: 60,
        examples: [
          [-1, 999_999_999, 0, 0],
          [2 ** 32, 1, -1, 1],
        ],
      },
    );
    good(files.close(fd));
  });

  placeTest(subject, 'touching sets the times to now', (place) => {
    const { files, root } = place;
    makeFile(place, 'a');
    makeFile(place, 'reference');
    const status = new FileStatus();
    good(files.status(root, 'reference', status));
    const before = status.mtimeSeconds;
    for (const touch of ['touch', 'touchOf'] as const) {
      const fd = good(files.openWrite(root, 'a'));
      good(files.timesOf(fd, 1, 0, 1, 0));
      good(touch === 'touch' ? files.touch(root, 'a') : files.touchOf(fd));
      good(files.statusOf(fd, status));
      assert(status.mtimeSeconds >= before && status.atimeSeconds >= before);
      assert(status.ctimeSeconds >= before);
      good(files.close(fd));
    }
  });
}

function ownerTests(subject: FilesSubject): void {
  placeTest(subject, 'all twelve bits of a mode are kept', (place) => {
    const { files, root } = place;
    makeFile(place, 'a');
    good(files.makeDirectory(root, 'd', 0o700));
    good(files.symlink('a', root, 'l'));
    const status = new FileStatus();
    for (const mode of [0, 0o7777, 0o4711, 0o1644, 0o600]) {
      good(files.chmod(root, 'a', mode));
      good(files.status(root, 'a', status));
      assert.equal(status.mode, mode);
      assert.equal(status.kind, KIND.file);
    }
    const fd = good(files.openDirectory(root, 'd'));
    good(files.chmodOf(fd, 0o1777));
    good(files.statusOf(fd, status));
    assert.equal(status.mode, 0o1777);
    assert.equal(status.kind, KIND.directory);
    good(files.close(fd));
    bad(files.chmod(root, 'l', 0o600), 'ENOTSUP');
    good(files.status(root, 'a', status));
    assert.equal(status.mode, 0o600);
  });

  placeTest(subject, 'an owner is set, of a link too', (place, context) => {
    const { files, root } = place;
    makeFile(place, 'a');
    good(files.symlink('a', root, 'l'));
    if (files.effectiveUserId() !== 0) {
      bad(files.chown(root, 'a', 1, 1), 'EPERM');
      context.skip('only root may give files away');
      return;
    }
    const status = new FileStatus();
    good(files.chown(root, 'l', 12_345, 4_000_000_000));
    good(files.status(root, 'l', status));
    assert.deepEqual([status.uid, status.gid], [12_345, 4_000_000_000]);
    good(files.status(root, 'a', status));
    assert.equal(status.uid, 0);
    const fd = good(files.openWrite(root, 'a'));
    good(files.chownOf(fd, 7, 8));
    good(files.statusOf(fd, status));
    assert.deepEqual([status.uid, status.gid], [7, 8]);
    good(files.close(fd));
  });
}

function nodeTests(subject: FilesSubject): void {
  placeTest(subject, 'opening a FIFO does not wait for its writer', (place) => {
    const { files, root } = place;
    good(files.makeNode(root, 'fifo', (KIND.fifo << 12) | 0o600, 0, 0));
    good(files.makeNode(root, 'socket', (KIND.socket << 12) | 0o600, 0, 0));
    const status = new FileStatus();
    good(files.status(root, 'fifo', status));
    assert.equal(status.kind, KIND.fifo);
    good(files.status(root, 'socket', status));
    assert.equal(status.kind, KIND.socket);
    const fd = good(files.openRead(root, 'fifo'));
    good(files.statusOf(fd, status));
    assert.equal(status.kind, KIND.fifo);
    good(files.close(fd));
    bad(files.openRead(root, 'socket'), 'ENXIO');
    bad(files.makeNode(root, 'fifo', (KIND.fifo << 12) | 0o600, 0, 0), 'EEXIST');
  });

  placeTest(subject, 'device numbers of full length are kept', (place, context) => {
    const { files, root } = place;
    const status = new FileStatus();
    for (const kind of [KIND.characterDevice, KIND.blockDevice]) {
      for (const [major, minor] of [
        [1, 3],
        [259, 1_048_575],
        [4095, 256],
      ] as const) {
        const result = files.makeNode(root, 'device', (kind << 12) | 0o600, major, minor);
        if (errnoName(result) === 'EPERM') {
          context.skip('only root may make device files, and not in every container');
          return;
        }
        good(result);
        good(files.status(root, 'device', status));
        assert.deepEqual([status.kind, status.rdevMajor, status.rdevMinor], [kind, major, minor]);
        good(files.remove(root, 'device'));
      }
    }
  });
}

/** Whether the file system takes users' attributes; skips the test if not. */
function hasAttributes(place: FilesPlace, context: TestContext): boolean {
  makeFile(place, 'probe');
  const result = place.files.setAttribute(place.root, 'probe', 'user.probe', Buffer.from('x'));
  if (errnoName(result) === 'ENOTSUP') {
    context.skip('this file system has no extended attributes');
    return false;
  }
  good(result);
  return true;
}

function attributeTests(subject: FilesSubject): void {
  placeTest(subject, 'extended attributes are set, read, changed and removed', (place, context) => {
    if (!hasAttributes(place, context)) return;
    const { files, root } = place;
    makeFile(place, 'a');
    const fd = good(files.openWrite(root, 'a'));
    assert.equal(files.attributesOf(fd), NO_ATTRIBUTES);
    assert.equal(files.attributes(root, 'a'), NO_ATTRIBUTES);
    const long = Buffer.alloc(2500, 'v');
    good(files.setAttributeOf(fd, 'user.empty', Buffer.alloc(0)));
    good(files.setAttributeOf(fd, 'user.long', long));
    good(files.setAttribute(root, 'a', 'user.odd \xff\n', Buffer.from([0, 255])));
    good(files.setAttribute(root, 'a', 'user.empty', Buffer.alloc(0)));
    const byHandle = plain(files.attributesOf(fd));
    assert.deepEqual(byHandle, [
      ['user.empty', ''],
      ['user.long', long.toString('latin1')],
      ['user.odd \xff\n', '\0\xff'],
    ]);
    assert.deepEqual(plain(files.attributes(root, 'a')), byHandle);
    good(files.setAttributeOf(fd, 'user.long', Buffer.from('s')));
    good(files.removeAttributeOf(fd, 'user.empty'));
    good(files.removeAttribute(root, 'a', 'user.odd \xff\n'));
    bad(files.removeAttribute(root, 'a', 'user.odd \xff\n'), 'ENODATA');
    assert.deepEqual(plain(files.attributesOf(fd)), [['user.long', 's']]);
    good(files.close(fd));
  });

  placeTest(subject, 'many attributes with long names are all read', (place, context) => {
    if (!hasAttributes(place, context)) return;
    const { files, root } = place;
    const fd = good(files.createExclusive(root, 'many', 0o600));
    const set = Array.from({ length: 12 }, (_, i): [string, string] => [
      `user.${String(i).padStart(2, '0')}${'n'.repeat(150)}`,
      String(i).repeat(i * 10),
    ]);
    for (const [name, value] of set) good(files.setAttributeOf(fd, name, Buffer.from(value)));
    assert.deepEqual(plain(files.attributesOf(fd)), set);
    assert.deepEqual(plain(files.attributes(root, 'many')), set);
    files.close(fd);
  });

  placeTest(subject, 'attributes of a link are its own', (place, context) => {
    if (!hasAttributes(place, context)) return;
    const { files, root } = place;
    good(files.symlink('probe', root, 'l'));
    assert.equal(files.attributes(root, 'l'), NO_ATTRIBUTES);
    bad(files.setAttribute(root, 'l', 'user.x', Buffer.from('x')), 'EPERM');
    const result = files.setAttribute(root, 'l', 'trusted.x', Buffer.from('x'));
    if (result < 0) {
      context.skip('only root may set the attributes of a link');
      return;
    }
    assert.deepEqual(plain(files.attributes(root, 'l')), [['trusted.x', 'x']]);
    assert.deepEqual(plain(files.attributes(root, 'probe')), [['user.probe', 'x']]);
  });
}

function machineTests(subject: FilesSubject): void {
  placeTest(subject, 'the machine is asked for what it has', ({ files, root }) => {
    assert(good(files.freeBytes(root)) > 0);
    assert(files.openFilesLimit() >= 256);
    assert.equal(files.openFilesLimit(), files.openFilesLimit());
    assert(files.effectiveUserId() >= 0);
    assert.equal(files.userName(0), 'root');
    assert.equal(files.userId('root'), 0);
    assert.equal(files.groupId(files.groupName(0) ?? ''), 0);
    assert.equal(files.userId('no such user'), undefined);
    assert.equal(files.userName(3_999_999_999), undefined);
    assert.equal(files.groupName(3_999_999_999), undefined);
  });
}

function plain(attributes: ReturnType<FilesPlace['files']['attributesOf']>): [string, string][] {
  assert(typeof attributes !== 'number', 'a list of attributes');
  return attributes
    .map(({ name, value }): [string, string] => [name, Buffer.from(value).toString('latin1')])
    .sort();
}
