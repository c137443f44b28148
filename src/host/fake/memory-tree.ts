/**
 * The tree and the handles of the files in memory.
 *
 * Contract: names lead to nodes as on Linux (`.`, `..`, links in the middle of a path, lengths),
 * for a user who may do everything; a closing slash says nothing. Results are nodes and places, or
 * negative errnos.
 */
import type { ByteString } from '../../base/bytes.ts';
import type { Clock } from '../clock.ts';
import { ERRNO } from '../errno.ts';
import { KIND } from '../file-status.ts';
import { CWD } from '../files.ts';
import type { Random } from '../random.ts';
import { MemoryNode, randomBelow, type Time } from './memory-node.ts';

const NAME_BYTES_MAX = 255;
const PATH_BYTES_MAX = 4095;
const LINKS_FOLLOWED_MAX = 40;
/** Far from the handles of the real system, so that a mix-up is noticed. */
const FIRST_HANDLE = 100_000;
const NANOS_PER_SECOND = 1_000_000_000n;

/** What a path leads to: a name in a directory, and what has the name. */
export interface NodePlace {
  readonly directory: MemoryNode;
  readonly name: ByteString;
  readonly node: MemoryNode | undefined;
}

export interface MemoryHandle {
  readonly node: MemoryNode;
  readonly writable: boolean;
}

/** What a file system keeps in order when the power fails. */
export interface PowerLoss {
  /**
   * `journal`: names of all directories change in the order in which they were changed, as on ext4
   * and XFS. `directory`: only those of one directory do, which is all that POSIX leads one to
   * hope.
   */
  readonly order: 'journal' | 'directory';
}

export class MemoryTree {
  readonly root: MemoryNode;
  readonly #clock: Clock;
  readonly #handles = new Map<number, MemoryHandle>();
  /** By which handle a file is locked. */
  readonly #locks = new Map<MemoryNode, number>();
  #nodes = 0;
  #sequence = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.root = this.newNode(KIND.directory, 0o755);
    this.root.parent = this.root;
    this.root.nlink = 2;
  }

  now(): Time {
    const nanos = this.#clock.nowNanos();
    return {
      seconds: Number(nanos / NANOS_PER_SECOND),
      nanos: Number(nanos % NANOS_PER_SECOND),
    };
  }

  newNode(kind: number, mode: number): MemoryNode {
    this.#nodes += 1;
    return new MemoryNode(this.#nodes, kind, mode, this.now());
  }

  openHandle(node: MemoryNode, writable: boolean): number {
    let fd = FIRST_HANDLE;
    while (this.#handles.has(fd)) fd += 1;
    this.#handles.set(fd, { node, writable });
    return fd;
  }

  closeHandle(fd: number): number {
    for (const [node, holder] of this.#locks) if (holder === fd) this.#locks.delete(node);
    return this.#handles.delete(fd) ? 0 : -ERRNO.EBADF;
  }

  lock(fd: number): number {
    const node = this.#handles.get(fd)?.node;
    if (node === undefined) return -ERRNO.EBADF;
    const holder = this.#locks.get(node) ?? fd;
    if (holder !== fd) return -ERRNO.EAGAIN;
    this.#locks.set(node, fd);
    return 0;
  }

  handle(fd: number): MemoryHandle | undefined {
    return this.#handles.get(fd);
  }

  /** Handles that are open: none should be left over. */
  get handleCount(): number {
    return this.#handles.size;
  }

  /** What has the name, or an errno if nothing has. */
  find(parent: number, name: ByteString, follow: boolean): MemoryNode | number {
    const place = this.place(parent, name, follow);
    if (typeof place === 'number') return place;
    return place.node ?? -ERRNO.ENOENT;
  }

  /** Where a name is, or would be made. */
  place(parent: number, name: ByteString, follow = false): NodePlace | number {
    const start = parent === CWD ? this.root : this.#handles.get(parent)?.node;
    if (start === undefined) return -ERRNO.EBADF;
    return this.#walk(start, name, follow, { left: LINKS_FOLLOWED_MAX });
  }

  #walk(
    start: MemoryNode,
    path: ByteString,
    follow: boolean,
    links: { left: number },
  ): NodePlace | number {
    if (path === '') return -ERRNO.ENOENT;
    if (path.length > PATH_BYTES_MAX) return -ERRNO.ENAMETOOLONG;
    let directory = path.startsWith('/') ? this.root : start;
    const components = path.split('/').filter((component) => component !== '');
    const last = components.pop() ?? '.';
    for (const component of components) {
      const next = this.#step(directory, component, true, links);
      if (typeof next === 'number') return next;
      if (next.node === undefined) return -ERRNO.ENOENT;
      directory = next.node;
    }
    return this.#step(directory, last, follow, links);
  }

  #step(
    directory: MemoryNode,
    name: ByteString,
    follow: boolean,
    links: { left: number },
  ): NodePlace | number {
    if (directory.kind !== KIND.directory) return -ERRNO.ENOTDIR;
    if (name.length > NAME_BYTES_MAX) return -ERRNO.ENAMETOOLONG;
    if (name === '.') return { directory, name, node: directory };
    if (name === '..') return { directory, name, node: directory.parent };
    const node = directory.entries.get(name);
    if (!follow || node?.kind !== KIND.symlink) return { directory, name, node };
    links.left -= 1;
    if (links.left < 0) return -ERRNO.ELOOP;
    return this.#walk(directory, node.target, true, links);
  }

  /** Several changes of names that happen in one step. */
  change(changes: readonly (readonly [MemoryNode, ByteString, MemoryNode | undefined])[]): void {
    this.#sequence += 1;
    const now = this.now();
    for (const [directory, name, node] of changes) {
      const before = directory.entries.get(name);
      directory.setEntry(name, node, this.#sequence);
      directory.mtime = now;
      directory.ctime = now;
      if (before !== undefined) this.#countLink(directory, before, -1);
      if (node !== undefined) this.#countLink(directory, node, 1);
    }
  }

  #countLink(directory: MemoryNode, node: MemoryNode, by: 1 | -1): void {
    node.ctime = this.now();
    if (node.kind !== KIND.directory) node.nlink += by;
    else {
      node.nlink += by * 2;
      directory.nlink += by;
      if (by > 0) node.parent = directory;
    }
  }

  /**
   * The power fails and comes back: what was not synced is there or not, as `random` has it. All
   * handles are gone.
   */
  losePower(random: Random, { order }: PowerLoss): void {
    this.#handles.clear();
    this.#locks.clear();
    const nodes = this.#allNodes();
    const sequences = [...nodes].flatMap((node) => node.pendingSequences).sort((a, b) => a - b);
    const journalEnd = this.#cut(random, sequences);
    for (const node of nodes) {
      node.lose(
        random,
        order === 'journal' ? journalEnd : this.#cut(random, node.pendingSequences),
      );
    }
    this.#countLinks();
  }

  /** The last change that is there afterwards. */
  #cut(random: Random, sequences: readonly number[]): number {
    const kept = randomBelow(random, sequences.length + 1);
    return kept === 0 ? 0 : (sequences[kept - 1] as number);
  }

  /** All that was written is safe from a loss of power. */
  syncAll(): void {
    for (const node of this.#allNodes()) node.sync();
  }

  #allNodes(): Set<MemoryNode> {
    const nodes = new Set<MemoryNode>([this.root]);
    for (const node of nodes) for (const child of node.children) nodes.add(child);
    return nodes;
  }

  #countLinks(): void {
    const nodes = this.#allNodes();
    for (const node of nodes) node.nlink = node.kind === KIND.directory ? 2 : 0;
    for (const node of nodes) {
      for (const child of node.entries.values()) {
        if (child.kind === KIND.directory) {
          child.parent = node;
          node.nlink += 1;
        } else child.nlink += 1;
      }
    }
  }

  /** Bytes that all contents take. */
  usedBytes(): number {
    let sum = 0;
    for (const node of this.#allNodes()) sum += node.usedBytes;
    return sum;
  }
}
