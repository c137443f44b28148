/**
 * The part of the files in memory that opens, looks, reads and writes.
 *
 * Contract: that of files.ts.
 */
import { assert } from '../../base/assert.ts';
import type { ByteString } from '../../base/bytes.ts';
import { ERRNO } from '../errno.ts';
import { type DirectoryListing, type FileStatus, KIND } from '../file-status.ts';
import type { FileContents, FileHandles } from '../files.ts';
import type { MemoryNode } from './memory-node.ts';
import type { MemoryTree } from './memory-tree.ts';

const DEVICE_MINOR = 77;

export class MemoryContents implements FileHandles, FileContents {
  readonly tree: MemoryTree;
  /** Writing beyond is answered with -ENOSPC; a test may change it at any time. */
  capacityBytes: number;

  constructor(tree: MemoryTree, capacityBytes: number) {
    this.tree = tree;
    this.capacityBytes = capacityBytes;
  }

  openDirectory(parent: number, name: ByteString): number {
    return this.#openDirectory(this.tree.find(parent, name, false));
  }

  openThrough(parent: number, name: ByteString): number {
    return this.openDirectory(parent, name);
  }

  openDirectoryFollow(parent: number, name: ByteString): number {
    return this.#openDirectory(this.tree.find(parent, name, true));
  }

  #openDirectory(node: MemoryNode | number): number {
    if (typeof node === 'number') return node;
    if (node.kind !== KIND.directory) return -ERRNO.ENOTDIR;
    return this.tree.openHandle(node, false);
  }

  openRead(parent: number, name: ByteString): number {
    const node = this.tree.find(parent, name, false);
    if (typeof node === 'number') return node;
    if (node.kind === KIND.symlink) return -ERRNO.ELOOP;
    if (node.kind === KIND.socket) return -ERRNO.ENXIO;
    return this.tree.openHandle(node, false);
  }

  createExclusive(parent: number, name: ByteString, mode: number): number {
    const place = this.tree.place(parent, name);
    if (typeof place === 'number') return place;
    if (place.node !== undefined) return -ERRNO.EEXIST;
    const node = this.tree.newNode(KIND.file, mode);
    this.tree.change([[place.directory, place.name, node]]);
    return this.tree.openHandle(node, true);
  }

  openWrite(parent: number, name: ByteString): number {
    const node = this.tree.find(parent, name, false);
    if (typeof node === 'number') return node;
    if (node.kind === KIND.symlink) return -ERRNO.ELOOP;
    if (node.kind === KIND.directory) return -ERRNO.EISDIR;
    if (node.kind === KIND.socket) return -ERRNO.ENXIO;
    return this.tree.openHandle(node, true);
  }

  close(fd: number): number {
    return this.tree.closeHandle(fd);
  }

  status(parent: number, name: ByteString, into: FileStatus): number {
    return fill(this.tree.find(parent, name, false), into);
  }

  statusFollow(parent: number, name: ByteString, into: FileStatus): number {
    return fill(this.tree.find(parent, name, true), into);
  }

  statusOf(fd: number, into: FileStatus): number {
    return fill(this.nodeOf(fd), into);
  }

  list(fd: number, into: DirectoryListing): number {
    into.clear();
    const node = this.nodeOf(fd);
    if (typeof node === 'number') return node;
    if (node.kind !== KIND.directory) return -ERRNO.ENOTDIR;
    for (const [name, child] of node.entries) into.add(name, child.kind);
    return into.count;
  }

  read(fd: number, view: Uint8Array, offset: number, length: number, position: number): number {
    const range = rangeOf(view, offset, length);
    const node = this.nodeOf(fd);
    if (typeof node === 'number') return node;
    if (node.kind === KIND.directory) return -ERRNO.EISDIR;
    if (position < 0) return -ERRNO.EINVAL;
    return node.read(range, position);
  }

  write(fd: number, view: Uint8Array, offset: number, length: number, position: number): number {
    const range = rangeOf(view, offset, length);
    const handle = this.tree.handle(fd);
    if (handle === undefined || !handle.writable) return -ERRNO.EBADF;
    if (position < 0) return -ERRNO.EINVAL;
    const { node } = handle;
    if (!this.#hasRoom(node, position, length)) return -ERRNO.ENOSPC;
    node.write(range, position);
    if (length > 0) this.#changed(node);
    return length;
  }

  seekData(fd: number, position: number): number {
    return this.#seek(fd, position, true);
  }

  seekHole(fd: number, position: number): number {
    return this.#seek(fd, position, false);
  }

  #seek(fd: number, position: number, data: boolean): number {
    const node = this.nodeOf(fd);
    if (typeof node === 'number') return node;
    return node.seek(position, data) ?? -ERRNO.ENXIO;
  }

  truncate(fd: number, length: number): number {
    const handle = this.tree.handle(fd);
    if (handle === undefined) return -ERRNO.EBADF;
    if (!handle.writable || length < 0) return -ERRNO.EINVAL;
    handle.node.truncate(length);
    this.#changed(handle.node);
    return 0;
  }

  allocate(fd: number, offset: number, length: number): number {
    const handle = this.tree.handle(fd);
    if (handle === undefined || !handle.writable) return -ERRNO.EBADF;
    if (offset < 0 || length <= 0) return -ERRNO.EINVAL;
    const { node } = handle;
    if (!this.#hasRoom(node, offset, length)) return -ERRNO.ENOSPC;
    if (offset + length > node.size) node.truncate(offset + length);
    return 0;
  }

  sync(fd: number): number {
    const node = this.nodeOf(fd);
    if (typeof node === 'number') return node;
    node.sync();
    return 0;
  }

  dataSync(fd: number): number {
    return this.sync(fd);
  }

  syncFileSystem(fd: number): number {
    const node = this.nodeOf(fd);
    if (typeof node === 'number') return node;
    this.tree.syncAll();
    return 0;
  }

  lock(fd: number): number {
    return this.tree.lock(fd);
  }

  protected nodeOf(fd: number): MemoryNode | number {
    return this.tree.handle(fd)?.node ?? -ERRNO.EBADF;
  }

  #hasRoom(node: MemoryNode, position: number, length: number): boolean {
    // Counting takes a look at every file.
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return true;
    return this.tree.usedBytes() + node.growthBytes(position, length) <= this.capacityBytes;
  }

  #changed(node: MemoryNode): void {
    node.mtime = this.tree.now();
    node.ctime = node.mtime;
  }
}

function rangeOf(view: Uint8Array, offset: number, length: number): Uint8Array {
  assert(
    offset >= 0 && length >= 0 && offset + length <= view.length,
    'a range lies within its view',
  );
  return view.subarray(offset, offset + length);
}

function fill(node: MemoryNode | number, into: FileStatus): number {
  if (typeof node === 'number') return node;
  into.set({
    kind: node.kind,
    mode: node.mode,
    uid: node.uid,
    gid: node.gid,
    size: node.kind === KIND.symlink ? node.target.length : node.size,
    nlink: node.nlink,
    inode: node.inode,
    deviceMinor: DEVICE_MINOR,
    rdevMajor: node.rdevMajor,
    rdevMinor: node.rdevMinor,
    atimeSeconds: node.atime.seconds,
    atimeNanos: node.atime.nanos,
    mtimeSeconds: node.mtime.seconds,
    mtimeNanos: node.mtime.nanos,
    ctimeSeconds: node.ctime.seconds,
    ctimeNanos: node.ctime.nanos,
    blocks512: node.usedBytes / 512,
  });
  return 0;
}
