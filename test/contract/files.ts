/**
 * What every implementation of the port `Files` must do; each passes this suite.
 *
 * Method: each test has an empty directory of its own, given as a handle, and looks at results
 * through the port only. What an implementation, a file system or a user cannot do is skipped, and
 * says why.
 */
import assert from 'node:assert/strict';
import { suite } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { CWD, DirectoryListing, errnoName, FileStatus, KIND } from '../../src/host/mod.ts';
import { filesMetadataContract } from './files-metadata.ts';
import {
  bad,
  contentOf,
  type FilesSubject,
  good,
  makeFile,
  namesOf,
  placeTest,
} from './files-place.ts';

export function filesContract(subject: FilesSubject): void {
  suite(`contract of files: ${subject.name}`, () => {
    openingTests(subject);
    contentTests(subject);
    changeTests(subject);
    holeTests(subject);
    listingTests(subject);
    nameTests(subject);
    treeTests(subject);
    linkTests(subject);
    filesMetadataContract(subject);
  });
}

function openingTests(subject: FilesSubject): void {
  placeTest(subject, 'a new file is there at once, and is made only once', (place) => {
    const { files, root } = place;
    const status = new FileStatus();
    const fd = good(files.createExclusive(root, 'a', 0o640));
    bad(files.createExclusive(root, 'a', 0o640), 'EEXIST');
    good(files.status(root, 'a', status));
    assert.equal(status.kind, KIND.file);
    assert.equal(status.size, 0);
    assert.equal(status.nlink, 1);
    assert.equal(status.mode & 0o600, 0o600);
    const inode = [status.inodeHigh, status.inodeLow];
    good(files.statusOf(fd, status));
    assert.deepEqual([status.inodeHigh, status.inodeLow], inode);
    assert.equal(status.inode, status.inodeHigh * 2 ** 32 + status.inodeLow);
    good(files.close(fd));
  });

  placeTest(subject, 'what is missing, or of another kind, is answered with its error', (place) => {
    const { files, root } = place;
    makeFile(place, 'file');
    good(files.makeDirectory(root, 'directory', 0o755));
    const status = new FileStatus();
    bad(files.openRead(root, 'none'), 'ENOENT');
    bad(files.openWrite(root, 'none'), 'ENOENT');
    bad(files.openDirectory(root, 'none'), 'ENOENT');
    bad(files.status(root, 'none', status), 'ENOENT');
    bad(files.readLink(root, 'none'), 'ENOENT');
    bad(files.attributes(root, 'none'), 'ENOENT');
    bad(files.openDirectory(root, 'file'), 'ENOTDIR');
    bad(files.openThrough(root, 'none'), 'ENOENT');
    bad(files.openThrough(root, 'file'), 'ENOTDIR');
    bad(files.openWrite(root, 'directory'), 'EISDIR');
    bad(files.readLink(root, 'file'), 'EINVAL');
    bad(files.makeDirectory(root, 'file', 0o755), 'EEXIST');
    bad(files.remove(root, 'none'), 'ENOENT');
    bad(files.rename(root, 'none', root, 'new'), 'ENOENT');
    bad(files.chmod(root, 'none', 0o600), 'ENOENT');
    bad(files.touch(root, 'none'), 'ENOENT');
  });

  placeTest(subject, 'a handle that is not open is refused', ({ files }) => {
    const closed = 987_654;
    bad(files.close(closed), 'EBADF');
    bad(files.read(closed, new Uint8Array(1), 0, 1, 0), 'EBADF');
    bad(files.write(closed, new Uint8Array(1), 0, 1, 0), 'EBADF');
    bad(files.list(closed, new DirectoryListing()), 'EBADF');
    bad(files.statusOf(closed, new FileStatus()), 'EBADF');
    bad(files.attributesOf(closed), 'EBADF');
    bad(files.createExclusive(closed, 'a', 0o600), 'EBADF');
  });

  placeTest(subject, 'a path from the working directory leads to the same files', (place) => {
    const { files, root, rootPath } = place;
    makeFile(place, 'a', 'content');
    const status = new FileStatus();
    good(files.status(CWD, `${rootPath}/a`, status));
    const inode = status.inode;
    good(files.status(root, 'a', status));
    assert.equal(status.inode, inode);
    const fd = good(files.openDirectoryFollow(CWD, rootPath));
    good(files.remove(fd, 'a'));
    bad(files.status(root, 'a', status), 'ENOENT');
    good(files.close(fd));
  });
}

function contentTests(subject: FilesSubject): void {
  placeTest(subject, 'bytes come back from where they were written', (place) => {
    const { files, root } = place;
    const fd = good(files.createExclusive(root, 'a', 0o600));
    const bytes = Buffer.from('0123456789');
    assert.equal(files.write(fd, bytes, 2, 5, 3), 5);
    assert.equal(files.write(fd, bytes, 0, 0, 1000), 0);
    const back = Buffer.alloc(12, 0xee);
    assert.equal(files.read(fd, back, 1, 10, 0), 8);
    assert.equal(back.toString('latin1'), '\xee\0\0\x0023456\xee\xee\xee');
    assert.equal(files.read(fd, back, 0, 4, 8), 0);
    assert.equal(files.read(fd, back, 0, 4, 1e12), 0);
    assert.equal(files.read(fd, back, 0, 0, 0), 0);
    good(files.close(fd));
    const again = good(files.openWrite(root, 'a'));
    assert.equal(files.write(again, bytes, 9, 1, 7), 1);
    good(files.dataSync(again));
    good(files.sync(again));
    good(files.syncFileSystem(again));
    good(files.syncFileSystem(root));
    good(files.close(again));
    assert.equal(errnoName(-files.syncFileSystem(again)), 'EBADF');
    assert.equal(contentOf(place, 'a'), '\0\0\x0023459');
  });

  placeTest(subject, 'a lock is held by one handle until it is closed', (place) => {
    const { files, root } = place;
    const first = good(files.createExclusive(root, 'a', 0o600));
    const second = good(files.openWrite(root, 'a'));
    good(files.lock(first));
    good(files.lock(first));
    assert.equal(errnoName(-files.lock(second)), 'EAGAIN');
    good(files.close(first));
    good(files.lock(second));
    good(files.close(second));
  });

  placeTest(subject, 'views on shared memory are read and written within their ranges', (place) => {
    const { files, root } = place;
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const view = new Uint8Array(memory.buffer, 4096, 64).fill(7);
    const fd = good(files.createExclusive(root, 'a', 0o600));
    view.fill(1, 8, 16);
    assert.equal(files.write(fd, view, 8, 8, 0), 8);
    assert.equal(files.read(fd, view, 32, 8, 0), 8);
    assert.deepEqual([...view.subarray(30, 42)], [7, 7, 1, 1, 1, 1, 1, 1, 1, 1, 7, 7]);
    good(files.close(fd));
  });

  placeTest(subject, 'a range outside its view is a defect, and nothing is touched', (place) => {
    const { files, root } = place;
    const fd = good(files.createExclusive(root, 'a', 0o600));
    const view = new Uint8Array(8);
    for (const [offset, length] of [
      [0, 9],
      [8, 1],
      [-1, 2],
      [4, -1],
    ] as const) {
      assert.throws(() => files.write(fd, view, offset, length, 0), { name: 'AssertionError' });
      assert.throws(() => files.read(fd, view, offset, length, 0), { name: 'AssertionError' });
    }
    good(files.close(fd));
    assert.equal(contentOf(place, 'a'), '');
  });
}

function changeTests(subject: FilesSubject): void {
  placeTest(subject, 'what is open for reading cannot be written', (place) => {
    makeFile(place, 'a', 'content');
    const fd = good(place.files.openRead(place.root, 'a'));
    bad(place.files.write(fd, new Uint8Array(1), 0, 1, 0), 'EBADF');
    bad(place.files.truncate(fd, 0), 'EINVAL', 'EBADF');
    good(place.files.close(fd));
    const directory = good(place.files.openDirectoryFollow(CWD, place.rootPath));
    bad(place.files.read(directory, new Uint8Array(1), 0, 1, 0), 'EISDIR');
    good(place.files.close(directory));
  });

  placeTest(subject, 'a file is cut and made longer', (place) => {
    const { files, root } = place;
    makeFile(place, 'a', '0123456789');
    const fd = good(files.openWrite(root, 'a'));
    good(files.truncate(fd, 4));
    good(files.truncate(fd, 6));
    const status = new FileStatus();
    good(files.statusOf(fd, status));
    assert.equal(status.size, 6);
    const allocated = files.allocate(fd, 0, 8);
    if (allocated < 0) bad(allocated, 'ENOTSUP');
    good(files.close(fd));
    assert.equal(contentOf(place, 'a').slice(0, 6), '0123\0\0');
  });

  placeTest(subject, 'a removed file is readable while it is open', (place) => {
    const { files, root } = place;
    makeFile(place, 'a', 'content');
    const fd = good(files.openRead(root, 'a'));
    good(files.remove(root, 'a'));
    const status = new FileStatus();
    good(files.statusOf(fd, status));
    assert.equal(status.nlink, 0);
    assert.equal(files.read(fd, new Uint8Array(7), 0, 7, 0), 7);
    good(files.close(fd));
  });
}

function holeTests(subject: FilesSubject): void {
  placeTest(
    subject,
    'holes and data are told apart, far beyond four gigabytes',
    (place, context) => {
      const { files, root } = place;
      const far = 2 ** 33 + 65_536;
      const fd = good(files.createExclusive(root, 'a', 0o600));
      const bytes = Buffer.alloc(65_536, 1);
      assert.equal(files.write(fd, bytes, 0, bytes.length, far), bytes.length);
      const status = new FileStatus();
      good(files.statusOf(fd, status));
      assert.equal(status.size, far + bytes.length);
      assert.equal(files.seekHole(fd, far), far + bytes.length);
      bad(files.seekData(fd, far + bytes.length), 'ENXIO');
      bad(files.seekHole(fd, far + bytes.length), 'ENXIO');
      if (files.seekData(fd, 0) === 0) context.diagnostic('this file system has no holes');
      else {
        assert.equal(files.seekData(fd, 0), far);
        assert.equal(files.seekHole(fd, 0), 0);
        assert(status.blocks512 * 512 < status.size);
      }
      const back = Buffer.alloc(4);
      assert.equal(files.read(fd, back, 0, 4, far - 2), 4);
      assert.deepEqual([...back], [0, 0, 1, 1]);
      good(files.close(fd));
    },
  );
}

function listingTests(subject: FilesSubject): void {
  placeTest(subject, 'names are reached through a directory that is not read', (place) => {
    const { files, root } = place;
    good(files.makeDirectory(root, 'closed', 0o755));
    const through = good(files.openThrough(root, 'closed'));
    good(files.close(good(files.createExclusive(through, 'in it', 0o600))));
    good(files.chmod(root, 'closed', 0o300));
    const status = new FileStatus();
    good(files.status(through, 'in it', status));
    good(files.makeDirectory(through, 'deeper', 0o755));
    good(files.close(good(files.openThrough(through, 'deeper'))));
    good(files.close(through));
  });

  placeTest(subject, 'a large directory is listed whole, and again from its beginning', (place) => {
    const { files, root } = place;
    const expected: ByteString[] = [];
    for (let i = 0; i < 1500; i++) {
      const name = `${i}-${'n'.repeat(i % 230)}`;
      expected.push(name);
      good(files.symlink('t', root, name));
    }
    good(files.makeDirectory(root, 'directory', 0o755));
    makeFile(place, '..file');
    expected.push('directory', '..file');
    const listing = new DirectoryListing();
    for (let round = 0; round < 2; round++) {
      assert.equal(files.list(root, listing), expected.length);
      assert.equal(listing.count, expected.length);
      assert.deepEqual([...listing.names].sort(), [...expected].sort());
    }
    const kindOf = (name: ByteString): number =>
      listing.kinds[listing.names.indexOf(name)] || KIND.unknown;
    for (const [name, kind] of [
      ['directory', KIND.directory],
      ['..file', KIND.file],
    ] as const) {
      assert([kind, KIND.unknown].includes(kindOf(name) as never));
    }
    assert([KIND.symlink, KIND.unknown].includes(kindOf('0-') as never));
    const inner = good(files.openDirectory(root, 'directory'));
    assert.equal(files.list(inner, listing), 0);
    assert.deepEqual(listing.names, []);
    good(files.close(inner));
  });

  placeTest(subject, 'only directories are listed', (place) => {
    makeFile(place, 'a');
    const fd = good(place.files.openRead(place.root, 'a'));
    const listing = new DirectoryListing();
    bad(place.files.list(fd, listing), 'ENOTDIR');
    assert.equal(listing.count, 0);
    good(place.files.close(fd));
  });
}

function nameTests(subject: FilesSubject): void {
  placeTest(subject, 'names of any bytes keep every byte', (place) => {
    const { files, root } = place;
    let all = '';
    for (let code = 1; code < 256; code++) if (code !== 0x2f) all += String.fromCharCode(code);
    const names = [
      all.slice(0, 120),
      all.slice(120),
      '\n',
      ' ',
      '\xff\xfe',
      '-',
      '...',
      'a'.repeat(255),
    ];
    for (const name of names) makeFile(place, name, `of ${name}`);
    assert.deepEqual(namesOf(place), [...names].sort());
    for (const name of names) {
      assert.equal(contentOf(place, name), Buffer.from(`of ${name}`, 'utf8').toString('latin1'));
      good(files.remove(root, name));
    }
    assert.deepEqual(namesOf(place), []);
  });

  placeTest(subject, 'names that are too long are refused, of whatever length', (place) => {
    const { files, root } = place;
    for (const length of [256, 4095, 4096, 4352, 5000, 70_000]) {
      const name = 'n'.repeat(length);
      bad(files.createExclusive(root, name, 0o600), 'ENAMETOOLONG');
      bad(files.rename(root, name, root, name), 'ENAMETOOLONG');
      bad(files.status(root, name, new FileStatus()), 'ENAMETOOLONG');
    }
    bad(files.createExclusive(root, '', 0o600), 'ENOENT');
    assert.deepEqual(namesOf(place), []);
  });
}

function treeTests(subject: FilesSubject): void {
  placeTest(subject, 'a tree is as deep as one likes by handles', (place) => {
    const { files, root } = place;
    const name = 'deep'.repeat(50);
    const depth = 30;
    const handles = [root];
    for (let level = 0; level < depth; level++) {
      const parent = handles[level] as number;
      good(files.makeDirectory(parent, name, 0o755));
      handles.push(good(files.openDirectory(parent, name)));
    }
    for (let level = depth - 1; level >= 0; level--) {
      good(files.close(handles[level + 1] as number));
      good(files.removeDirectory(handles[level] as number, name));
    }
  });

  placeTest(subject, 'renaming replaces, or refuses to', (place) => {
    const { files, root } = place;
    makeFile(place, 'a', 'A');
    makeFile(place, 'b', 'B');
    bad(files.renameExclusive(root, 'a', root, 'b'), 'EEXIST');
    assert.equal(contentOf(place, 'b'), 'B');
    good(files.rename(root, 'a', root, 'b'));
    assert.equal(contentOf(place, 'b'), 'A');
    good(files.makeDirectory(root, 'directory', 0o755));
    const directory = good(files.openDirectory(root, 'directory'));
    good(files.renameExclusive(root, 'b', directory, 'c'));
    bad(files.removeDirectory(root, 'directory'), 'ENOTEMPTY');
    bad(files.remove(root, 'directory'), 'EISDIR', 'EPERM');
    good(files.remove(directory, 'c'));
    good(files.sync(directory));
    good(files.close(directory));
    good(files.removeDirectory(root, 'directory'));
    assert.deepEqual(namesOf(place), []);
  });
}

function linkTests(subject: FilesSubject): void {
  placeTest(subject, 'a symbolic link keeps its target and is never followed', (place) => {
    const { files, root } = place;
    makeFile(place, 'file', 'content');
    good(files.makeDirectory(root, 'directory', 0o755));
    good(files.symlink('file', root, 'to-file'));
    good(files.symlink('directory', root, 'to-directory'));
    const status = new FileStatus();
    good(files.status(root, 'to-file', status));
    assert.equal(status.kind, KIND.symlink);
    assert.equal(status.size, 4);
    good(files.statusFollow(root, 'to-file', status));
    assert.equal(status.kind, KIND.file);
    assert.equal(files.readLink(root, 'to-file'), 'file');
    bad(files.openRead(root, 'to-file'), 'ELOOP');
    bad(files.openWrite(root, 'to-file'), 'ELOOP');
    bad(files.createExclusive(root, 'to-file', 0o600), 'EEXIST');
    bad(files.openDirectory(root, 'to-directory'), 'ENOTDIR', 'ELOOP');
    bad(files.openThrough(root, 'to-directory'), 'ENOTDIR', 'ELOOP');
    good(files.close(good(files.openDirectoryFollow(root, 'to-directory'))));
    bad(files.makeDirectory(root, 'to-directory', 0o755), 'EEXIST');
    good(files.remove(root, 'to-file'));
    assert.equal(contentOf(place, 'file'), 'content');
  });

  placeTest(subject, 'targets are bytes of any length, and need not exist', (place) => {
    const { files, root } = place;
    const targets = ['x', '\xff\n\x01', '../'.repeat(1000), 'n'.repeat(4095)];
    for (const [i, target] of targets.entries()) {
      good(files.symlink(target, root, `l${i}`));
      assert.equal(files.readLink(root, `l${i}`), target);
    }
    bad(files.symlink('n'.repeat(4096), root, 'too-long'), 'ENAMETOOLONG');
    bad(files.statusFollow(root, 'l0', new FileStatus()), 'ENOENT');
  });

  placeTest(subject, 'a further name is the same file; of a link, the link', (place) => {
    const { files, root } = place;
    makeFile(place, 'a', 'content');
    good(files.link(root, 'a', root, 'b'));
    bad(files.link(root, 'a', root, 'b'), 'EEXIST');
    const status = new FileStatus();
    good(files.status(root, 'b', status));
    assert.equal(status.nlink, 2);
    good(files.remove(root, 'a'));
    assert.equal(contentOf(place, 'b'), 'content');
    good(files.symlink('b', root, 'l'));
    good(files.link(root, 'l', root, 'm'));
    assert.equal(files.readLink(root, 'm'), 'b');
    good(files.status(root, 'm', status));
    assert.equal(status.nlink, 2);
    bad(files.link(root, 'none', root, 'c'), 'ENOENT');
  });
}
