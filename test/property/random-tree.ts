/**
 * A tree of files that grows and changes at random, step by step.
 *
 * Contract: what a step does depends only on the step and on what the steps before it have done, so
 * that a failing list of steps can be shortened. Everything goes by handle; names are any bytes.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type ByteString, fromBytes } from '../../src/base/bytes.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { errnoName, FileStatus } from '../../src/host/mod.ts';
import { IS_ROOT } from '../commands.ts';
import { noise, prose, TreeMaker } from '../tree-make.ts';

const MIB = 1024 * 1024;
/** Sizes at which files are cut, packed or handled differently; each may be one less or one more. */
const BORDERS: readonly number[] = [
  4096,
  64 * 1024,
  LIMITS.cutBytesMin,
  256 * 1024,
  LIMITS.wholeFileBytesMax,
  LIMITS.cutBytesMax,
  2 * LIMITS.cutBytesMax,
];
/** Chosen more often than others, so that names are met again and sort in ways that matter. */
const NAMES: readonly ByteString[] = ['a', 'a-', 'a.b', 'a b', 'b', 'b\n', '\xff', '-rf', '\x01'];
const FILL = ['noise', 'prose', 'zeros', 'repeated'] as const;

const name = fc.oneof(
  fc.constantFrom(...NAMES),
  fc
    .array(
      fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 47),
      { minLength: 1, maxLength: 255 },
    )
    .map((bytes) => fromBytes(Uint8Array.from(bytes)))
    .filter((text) => text !== '.' && text !== '..'),
);
const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 3000 }) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(...BORDERS), fc.integer({ min: -1, max: 1 }))
      .map(([border, more]) => border + more),
  },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 * MIB }) },
);
const content = fc.record({
  size,
  fill: fc.constantFrom(...FILL),
  /** Few, so that contents are met again. */
  seed: fc.integer({ min: 0, max: 4 }),
});
const metadata = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  owner: fc.tuple(fc.integer({ min: 0, max: 70_000 }), fc.integer({ min: 0, max: 70_000 })),
  mtime: fc.tuple(
    fc.integer({ min: -(2 ** 31), max: 2 ** 32 }),
    fc.integer({ min: 0, max: 999_999_999 }),
  ),
  attribute: fc.option(fc.tuple(fc.constantFrom('user.a', 'user.b c'), fc.string()), { freq: 3 }),
});
/** Which of what is there a step is about. */
const place = fc.nat({ max: 10_000 });
const kind = fc.constantFrom(
  ...(['file', 'file', 'file', 'file', 'directory', 'directory'] as const),
  ...(['link', 'fifo', 'socket', 'device', 'sparse', 'further link'] as const),
);

/** Something new. */
export const addition = fc.record({ at: place, name, kind, content, metadata, other: place });
export type Addition = typeof addition extends fc.Arbitrary<infer T> ? T : never;

/** Something done to what is there. */
export const mutation = fc.record({
  act: fc.constantFrom(
    ...([
      'edit',
      'edit unseen',
      'grow',
      'cut',
      'touch',
      'rename',
      'move',
      'delete',
      'add',
    ] as const),
    ...(['kind', 'mode', 'replace by link', 'swap', 'attributes', 'delete directory'] as const),
  ),
  at: place,
  addition,
});
export type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

interface Entry {
  parent: Directory;
  name: ByteString;
  readonly kind: 'file' | 'other';
}
interface Directory {
  /** Undefined: the root. */
  parent: Directory | undefined;
  name: ByteString;
  readonly tree: TreeMaker;
}

export class RandomTree {
  readonly #directories: Directory[];
  readonly #entries: Entry[] = [];
  readonly #hasAttributes: boolean;

  /** Makes the directory `path`; `close` closes all handles and removes nothing. */
  constructor(path: string) {
    const tree = TreeMaker.open(path);
    this.#directories = [{ parent: undefined, name: '', tree }];
    tree.file('first');
    const { files, fd } = tree;
    this.#hasAttributes = files.setAttribute(fd, 'first', 'user.a', Buffer.from('x')) >= 0;
    tree.remove('first');
  }

  close(): void {
    for (const { tree } of this.#directories) tree.close();
  }

  add(step: Addition): void {
    const { name, kind, metadata } = step;
    const parent = this.#directory(step.at);
    const { tree } = parent;
    if (this.#isThere(parent, name)) return;
    if (kind === 'directory') {
      tree.directory(name);
      const opened = tree.files.openDirectory(tree.fd, name);
      assert.ok(opened >= 0);
      this.#directories.push({ parent, name, tree: new TreeMaker(opened) });
      tree.set(name, this.#metadata(metadata, 0o700));
      return;
    }
    if (kind === 'further link') {
      const first = this.#entry(step.other);
      if (first?.kind !== 'file') return;
      first.parent.tree.hardLink(first.name, tree, name);
      this.#entries.push({ parent, name, kind: 'file' });
      return;
    }
    this.#make(tree, step);
    const isFile = kind === 'file' || kind === 'sparse';
    this.#entries.push({ parent, name, kind: isFile ? 'file' : 'other' });
  }

  #make(tree: TreeMaker, { name, kind, content, metadata }: Addition): void {
    const given = this.#metadata(metadata, 0o400);
    const bytes = bytesOf(content);
    if (kind === 'file') tree.file(name, bytes, given);
    else if (kind === 'sparse') {
      const gap = content.seed * MIB + content.size;
      const part = bytes.subarray(0, 5000);
      tree.file(name, [{ at: gap, bytes: part }, ...(gap > 9000 ? [{ at: 3, bytes: part }] : [])]);
      tree.lengthen(name, gap + part.length + content.size);
      tree.set(name, given);
    } else if (kind === 'link') {
      const { mode: _, attributes: __, ...rest } = given;
      tree.link(name, `to\n${content.size}`, rest);
    } else {
      const { attributes: _, ...rest } = given;
      const node = kind === 'device' ? (IS_ROOT ? 'character' : 'fifo') : kind;
      if (node === 'character') tree.node(name, 'characterDevice', rest, 1, content.seed);
      else tree.node(name, node as 'fifo' | 'socket', rest);
    }
  }

  /** What this user can give to a file, and read again. */
  #metadata(
    { mode, owner, mtime, attribute }: Addition['metadata'],
    least: number,
  ): {
    mode: number;
    mtime: readonly [number, number];
    owner?: readonly [number, number];
    attributes?: Record<string, string>;
  } {
    return {
      mtime,
      ...(IS_ROOT ? { owner, mode } : { mode: (mode & 0o777) | least }),
      ...(this.#hasAttributes && attribute !== null
        ? { attributes: { [attribute[0]]: attribute[1] } }
        : {}),
    };
  }

  mutate({ act, at, addition }: Mutation): void {
    if (act === 'add') return this.add(addition);
    if (act === 'move') return this.#moveDirectory(at, addition);
    if (act === 'delete directory') return this.#deleteDirectory(at);
    const index = this.#entries.length === 0 ? -1 : at % this.#entries.length;
    const entry = this.#entries[index];
    if (entry === undefined) return this.add(addition);
    const { tree } = entry.parent;
    const given = this.#metadata(addition.metadata, 0o400);
    if (act === 'rename') this.#rename(entry, addition);
    else if (act === 'delete') this.#delete(index);
    else if (act === 'swap') this.#swap(entry, addition);
    else if (act === 'kind' || act === 'replace by link') {
      this.#delete(index);
      const kind = act === 'kind' ? addition.kind : 'link';
      const at = this.#directories.indexOf(entry.parent);
      this.add({ ...addition, kind, at, name: entry.name });
    } else if (act === 'touch') tree.set(entry.name, { mtime: given.mtime });
    else if (entry.kind === 'file') {
      if (act === 'mode') tree.set(entry.name, { mode: given.mode });
      else if (act === 'attributes') this.#changeAttributes(entry, given.attributes ?? {});
      else this.#write(entry, act, addition);
    }
  }

  /** Of a file: other bytes within its length, more of them, or fewer. */
  #write({ parent, name }: Entry, act: Mutation['act'], { content, other }: Addition): void {
    const { files, fd: directory } = parent.tree;
    const status = new FileStatus();
    assert.equal(files.status(directory, name, status), 0);
    const { size, mtimeSeconds, mtimeNanos, mode } = status;
    assert.equal(files.chmod(directory, name, mode | 0o600), 0);
    const fd = files.openWrite(directory, name);
    assert.ok(fd >= 0, errnoName(-fd));
    const bytes = bytesOf(content).subarray(0, 100_000);
    if (act === 'cut') files.truncate(fd, size === 0 ? 0 : other % size);
    else if (act === 'grow') files.write(fd, bytes, 0, bytes.length, size);
    else {
      const at = size === 0 ? 0 : other % size;
      files.write(fd, bytes, 0, Math.min(bytes.length, size - at), at);
    }
    files.close(fd);
    assert.equal(files.chmod(directory, name, mode), 0);
    if (act === 'edit unseen') parent.tree.set(name, { mtime: [mtimeSeconds, mtimeNanos] });
  }

  #changeAttributes({ parent, name }: Entry, attributes: Record<string, string>): void {
    const { files, fd } = parent.tree;
    for (const attribute of ['user.a', 'user.b c']) files.removeAttribute(fd, name, attribute);
    parent.tree.set(name, { attributes });
  }

  #rename(entry: Entry, { at, name }: Addition): void {
    const to = this.#directory(at);
    if (this.#isThere(to, name)) return;
    const { files, fd } = entry.parent.tree;
    assert.equal(files.rename(fd, entry.name, to.tree.fd, name), 0);
    entry.parent = to;
    entry.name = name;
  }

  /** Exchanges two entries, by a third name. */
  #swap(entry: Entry, { other }: Addition): void {
    const second = this.#entry(other);
    if (second === undefined || second === entry) return;
    const { files } = entry.parent.tree;
    const [a, b] = [entry.parent.tree.fd, second.parent.tree.fd];
    assert.equal(files.rename(a, entry.name, a, '.exchanged'), 0);
    assert.equal(files.rename(b, second.name, a, entry.name), 0);
    assert.equal(files.rename(a, '.exchanged', b, second.name), 0);
    const [parent, name] = [entry.parent, entry.name];
    [entry.parent, entry.name] = [second.parent, second.name];
    [second.parent, second.name] = [parent, name];
  }

  #delete(index: number): void {
    const [entry] = this.#entries.splice(index, 1);
    entry?.parent.tree.remove(entry.name);
  }

  /** Moves a directory with all below it; where it would come below itself, nothing happens. */
  #moveDirectory(at: number, { at: into, name }: Addition): void {
    const moved = this.#directories[at % this.#directories.length];
    const to = this.#directory(into);
    if (moved?.parent === undefined || this.#isThere(to, name)) return;
    if (isWithin(to, moved)) return;
    const { files, fd } = moved.parent.tree;
    assert.equal(files.rename(fd, moved.name, to.tree.fd, name), 0);
    moved.parent = to;
    moved.name = name;
  }

  /** Deletes a directory, from the bottom up, with all below it. */
  #deleteDirectory(at: number): void {
    const deleted = this.#directories[at % this.#directories.length];
    if (deleted?.parent === undefined) return;
    for (let i = this.#entries.length - 1; i >= 0; i--)
      if (isWithin(this.#entries[i]?.parent, deleted)) this.#delete(i);
    const within = this.#directories.filter((one) => isWithin(one, deleted));
    for (const one of within.sort((a, b) => depthOf(b) - depthOf(a))) {
      const above = one.parent?.tree;
      assert.equal(above?.files.removeDirectory(above.fd, one.name), 0);
      one.tree.close();
      this.#directories.splice(this.#directories.indexOf(one), 1);
    }
  }

  #directory(at: number): Directory {
    const found = this.#directories[at % this.#directories.length];
    assert.ok(found !== undefined);
    return found;
  }
  #entry(at: number): Entry | undefined {
    return this.#entries[at % Math.max(1, this.#entries.length)];
  }
  #isThere({ tree }: Directory, name: ByteString): boolean {
    return tree.files.status(tree.fd, name, new FileStatus()) === 0;
  }
}

function isWithin(directory: Directory | undefined, above: Directory): boolean {
  for (let at = directory; at !== undefined; at = at.parent) if (at === above) return true;
  return false;
}

function depthOf(directory: Directory): number {
  return directory.parent === undefined ? 0 : depthOf(directory.parent) + 1;
}

const known = new Map<string, Buffer>();

function bytesOf({ size, fill, seed }: Addition['content']): Buffer {
  if (fill === 'zeros') return Buffer.alloc(size);
  if (fill === 'repeated') return Buffer.alloc(size, `${seed} again `);
  const key = `${fill} ${seed}`;
  let whole = known.get(key);
  if (whole === undefined) {
    whole = (fill === 'noise' ? noise : prose)(3 * MIB, key);
    known.set(key, whole);
  }
  return whole.subarray(0, size);
}
