/**
 * Files in memory, that can lose their power: the port `Files` for tests.
 *
 * Contract: that of files.ts, as root on one file system, within one thread. `losePower` leaves
 * what a disk might hold after the power failed: everything that was synced, and of the rest a
 * random part (memory-node.ts, memory-tree.ts). A name is durable once its DIRECTORY was synced; a
 * content once its file was.
 */
import type { ByteString } from '../../base/bytes.ts';
import { type Clock, openClock } from '../clock.ts';
import { ERRNO } from '../errno.ts';
import { KIND } from '../file-status.ts';
import { type Attribute, type Files, NO_ATTRIBUTES } from '../files.ts';
import type { Random } from '../random.ts';
import { MemoryContents } from './memory-contents.ts';
import type { MemoryNode } from './memory-node.ts';
import { MemoryTree, type NodePlace, type PowerLoss } from './memory-tree.ts';

const TARGET_BYTES_MAX = 4095;
const OPEN_FILES_MAX = 20_000;
/** What a file system without bounds tells. */
const FREE_BYTES_MAX = 2 ** 50;

export interface MemoryFilesOptions {
  readonly clock?: Clock;
  /** Without bounds by default. */
  readonly capacityBytes?: number;
}

export class MemoryFiles extends MemoryContents implements Files {
  constructor({
    clock = openClock(),
    capacityBytes = Number.POSITIVE_INFINITY,
  }: MemoryFilesOptions = {}) {
    super(new MemoryTree(clock), capacityBytes);
  }

  /** Handles that are open. */
  get handleCount(): number {
    return this.tree.handleCount;
  }

  /** The power fails and comes back; every handle is gone. */
  losePower(random: Random, loss: PowerLoss): void {
    this.tree.losePower(random, loss);
  }

  makeDirectory(parent: number, name: ByteString, mode: number): number {
    return this.#make(parent, name, () => this.tree.newNode(KIND.directory, mode));
  }

  remove(parent: number, name: ByteString): number {
    const place = this.#existing(parent, name);
    if (typeof place === 'number') return place;
    if (place.node.kind === KIND.directory) return -ERRNO.EISDIR;
    this.tree.change([[place.directory, place.name, undefined]]);
    return 0;
  }

  removeDirectory(parent: number, name: ByteString): number {
    const place = this.#existing(parent, name);
    if (typeof place === 'number') return place;
    if (place.node.kind !== KIND.directory) return -ERRNO.ENOTDIR;
    if (place.node.entries.size > 0) return -ERRNO.ENOTEMPTY;
    this.tree.change([[place.directory, place.name, undefined]]);
    return 0;
  }

  rename(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number {
    return this.#rename(oldParent, oldName, newParent, newName, true);
  }

  renameExclusive(
    oldParent: number,
    oldName: ByteString,
    newParent: number,
    newName: ByteString,
  ): number {
    return this.#rename(oldParent, oldName, newParent, newName, false);
  }

  link(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number {
    const from = this.#existing(oldParent, oldName);
    if (typeof from === 'number') return from;
    const to = this.tree.place(newParent, newName);
    if (typeof to === 'number') return to;
    if (to.node !== undefined) return -ERRNO.EEXIST;
    if (from.node.kind === KIND.directory) return -ERRNO.EPERM;
    this.tree.change([[to.directory, to.name, from.node]]);
    return 0;
  }

  symlink(target: ByteString, parent: number, name: ByteString): number {
    if (target === '') return -ERRNO.ENOENT;
    if (target.length > TARGET_BYTES_MAX) return -ERRNO.ENAMETOOLONG;
    return this.#make(parent, name, () => {
      const node = this.tree.newNode(KIND.symlink, 0o777);
      node.target = target;
      return node;
    });
  }

  readLink(parent: number, name: ByteString): ByteString | number {
    const node = this.tree.find(parent, name, false);
    if (typeof node === 'number') return node;
    return node.kind === KIND.symlink ? node.target : -ERRNO.EINVAL;
  }

  makeNode(
    parent: number,
    name: ByteString,
    kindAndMode: number,
    major: number,
    minor: number,
  ): number {
    const kind = kindAndMode >>> 12;
    if (kind === KIND.directory || kind === KIND.symlink) return -ERRNO.EINVAL;
    return this.#make(parent, name, () => {
      const node = this.tree.newNode(kind, kindAndMode);
      const isDevice = kind === KIND.characterDevice || kind === KIND.blockDevice;
      node.rdevMajor = isDevice ? major : 0;
      node.rdevMinor = isDevice ? minor : 0;
      return node;
    });
  }

  chmod(parent: number, name: ByteString, mode: number): number {
    const node = this.tree.find(parent, name, false);
    if (typeof node !== 'number' && node.kind === KIND.symlink) return -ERRNO.EOPNOTSUPP;
    return this.#update(node, (found) => {
      found.mode = mode & 0xfff;
    });
  }

  chmodOf(fd: number, mode: number): number {
    return this.#update(this.nodeOf(fd), (node) => {
      node.mode = mode & 0xfff;
    });
  }

  chown(parent: number, name: ByteString, uid: number, gid: number): number {
    return this.#chown(this.tree.find(parent, name, false), uid, gid);
  }

  chownOf(fd: number, uid: number, gid: number): number {
    return this.#chown(this.nodeOf(fd), uid, gid);
  }

  times(
    parent: number,
    name: ByteString,
    atimeSeconds: number,
    atimeNanos: number,
    mtimeSeconds: number,
    mtimeNanos: number,
  ): number {
    return this.#update(this.tree.find(parent, name, false), (node) => {
      node.atime = { seconds: atimeSeconds, nanos: atimeNanos };
      node.mtime = { seconds: mtimeSeconds, nanos: mtimeNanos };
    });
  }

  timesOf(
    fd: number,
    atimeSeconds: number,
    atimeNanos: number,
    mtimeSeconds: number,
    mtimeNanos: number,
  ): number {
    return this.#update(this.nodeOf(fd), (node) => {
      node.atime = { seconds: atimeSeconds, nanos: atimeNanos };
      node.mtime = { seconds: mtimeSeconds, nanos: mtimeNanos };
    });
  }

  touch(parent: number, name: ByteString): number {
    return this.#touch(this.tree.find(parent, name, false));
  }

  touchOf(fd: number): number {
    return this.#touch(this.nodeOf(fd));
  }

  attributesOf(fd: number): readonly Attribute[] | number {
    return attributesOf(this.nodeOf(fd));
  }

  attributes(parent: number, name: ByteString): readonly Attribute[] | number {
    return attributesOf(this.tree.find(parent, name, false));
  }

  setAttributeOf(fd: number, attribute: ByteString, value: Uint8Array): number {
    return this.#setAttribute(this.nodeOf(fd), attribute, value);
  }

  setAttribute(parent: number, name: ByteString, attribute: ByteString, value: Uint8Array): number {
    return this.#setAttribute(this.tree.find(parent, name, false), attribute, value);
  }

  removeAttributeOf(fd: number, attribute: ByteString): number {
    return this.#removeAttribute(this.nodeOf(fd), attribute);
  }

  removeAttribute(parent: number, name: ByteString, attribute: ByteString): number {
    return this.#removeAttribute(this.tree.find(parent, name, false), attribute);
  }

  userName(uid: number): string | undefined {
    return uid === 0 ? 'root' : undefined;
  }

  groupName(gid: number): string | undefined {
    return gid === 0 ? 'root' : undefined;
  }

  userId(name: string): number | undefined {
    return name === 'root' ? 0 : undefined;
  }

  groupId(name: string): number | undefined {
    return name === 'root' ? 0 : undefined;
  }

  effectiveUserId(): number {
    return 0;
  }

  openFilesLimit(): number {
    return OPEN_FILES_MAX;
  }

  dieWithParent(): void {}

  freeBytes(fd: number): number {
    const node = this.nodeOf(fd);
    if (typeof node === 'number') return node;
    const capacity = Math.min(this.capacityBytes, FREE_BYTES_MAX);
    return Math.max(0, capacity - this.tree.usedBytes());
  }

  #existing(parent: number, name: ByteString): (NodePlace & { node: MemoryNode }) | number {
    const place = this.tree.place(parent, name);
    if (typeof place === 'number') return place;
    const { node } = place;
    if (node === undefined) return -ERRNO.ENOENT;
    if (place.name === '.' || place.name === '..') return -ERRNO.EINVAL;
    return { ...place, node };
  }

  #make(parent: number, name: ByteString, node: () => MemoryNode): number {
    const place = this.tree.place(parent, name);
    if (typeof place === 'number') return place;
    if (place.node !== undefined) return -ERRNO.EEXIST;
    this.tree.change([[place.directory, place.name, node()]]);
    return 0;
  }

  #rename(
    oldParent: number,
    oldName: ByteString,
    newParent: number,
    newName: ByteString,
    replace: boolean,
  ): number {
    const old = this.tree.place(oldParent, oldName);
    if (typeof old === 'number') return old;
    const to = this.tree.place(newParent, newName);
    if (typeof to === 'number') return to;
    const from = this.#existing(oldParent, oldName);
    if (typeof from === 'number') return from;
    if (to.node !== undefined && !replace) return -ERRNO.EEXIST;
    const isDirectory = from.node.kind === KIND.directory;
    if (isDirectory && isWithin(to.directory, from.node)) return -ERRNO.EINVAL;
    if (to.node !== undefined && isWithin(from.directory, to.node)) return -ERRNO.ENOTEMPTY;
    if (to.node === from.node) return 0;
    if (to.node !== undefined) {
      if (to.node.kind === KIND.directory && !isDirectory) return -ERRNO.EISDIR;
      if (to.node.kind !== KIND.directory && isDirectory) return -ERRNO.ENOTDIR;
      if (to.node.entries.size > 0) return -ERRNO.ENOTEMPTY;
    }
    this.tree.change([
      [from.directory, from.name, undefined],
      [to.directory, to.name, from.node],
    ]);
    return 0;
  }

  /** Changes what is known of a file. */
  #update(node: MemoryNode | number, change: (node: MemoryNode) => void): number {
    if (typeof node === 'number') return node;
    change(node);
    node.ctime = this.tree.now();
    return 0;
  }

  #chown(node: MemoryNode | number, uid: number, gid: number): number {
    return this.#update(node, (found) => {
      found.uid = uid;
      found.gid = gid;
    });
  }

  #touch(node: MemoryNode | number): number {
    return this.#update(node, (found) => {
      found.atime = this.tree.now();
      found.mtime = found.atime;
    });
  }

  #setAttribute(node: MemoryNode | number, attribute: ByteString, value: Uint8Array): number {
    if (typeof node === 'number') return node;
    if (!attribute.includes('.')) return -ERRNO.EOPNOTSUPP;
    if (attribute.startsWith('user.') && node.kind !== KIND.file && node.kind !== KIND.directory) {
      return -ERRNO.EPERM;
    }
    return this.#update(node, () => node.attributes.set(attribute, Uint8Array.from(value)));
  }

  #removeAttribute(node: MemoryNode | number, attribute: ByteString): number {
    if (typeof node === 'number') return node;
    if (!node.attributes.has(attribute)) return -ERRNO.ENODATA;
    return this.#update(node, () => node.attributes.delete(attribute));
  }
}

function attributesOf(node: MemoryNode | number): readonly Attribute[] | number {
  if (typeof node === 'number') return node;
  if (node.attributes.size === 0) return NO_ATTRIBUTES;
  return [...node.attributes].map(([name, value]) => ({ name, value: Uint8Array.from(value) }));
}

function isWithin(directory: MemoryNode, ancestor: MemoryNode): boolean {
  let at = directory;
  for (;;) {
    if (at === ancestor) return true;
    const { parent } = at;
    if (parent === undefined || parent === at) return false;
    at = parent;
  }
}
