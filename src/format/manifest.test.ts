/**
 * Goal: leaves and nodes are read as they were built; what is damaged in any way ends in DAMAGED or is
 * read within its bytes, never in another error, an endless loop or a path outside of the root.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openCodec } from '../host/mod.ts';
import { ENTRY, EntryWriter } from './entry.ts';
import {
  decodeNode,
  encodeNode,
  LeafBuilder,
  LeafReader,
  type ManifestRef,
  nodeBytes,
  nodeEndsAfter,
} from './manifest.ts';
import type { Crc } from './tag-header.ts';

const codec = openCodec(Buffer.alloc(32));
const crc: Crc = (view, offset, length, seed) => codec.crc32c(view, offset, length, seed);
const ABOUT = {
  flags: 0,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSeconds: 1,
  mtimeNanos: 0,
  ctimeSeconds: 1,
  ctimeNanos: 0,
  links: 1,
  inode: 1,
  deviceMajor: 0,
  deviceMinor: 0,
};

interface Item {
  readonly name: string;
  readonly kind: number;
  readonly depth: number;
}

/** A small tree in the order of a walk. */
const items: fc.Arbitrary<Item[]> = fc
  .array(
    fc.record({ name: fc.stringMatching(/^[a-z]{1,12}$/), directory: fc.boolean(), up: fc.nat(3) }),
    { maxLength: 40 },
  )
  .map((list) => {
    let deepest = 0;
    return list.map(({ name, directory, up }) => {
      const depth = Math.max(0, deepest - up);
      deepest = directory ? depth + 1 : depth;
      return { name, kind: directory ? ENTRY.directory : ENTRY.file, depth };
    });
  });

function buildLeaf(
  list: readonly Item[],
  prefix: string,
): { bytes: Buffer; ref: Omit<ManifestRef, 'name'> } {
  const leaf = new LeafBuilder(crc);
  const writer = new EntryWriter();
  const above = prefix === '' ? 0 : prefix.split('/').length;
  for (const item of list) {
    writer.reset();
    writer.begin({ ...ABOUT, kind: item.kind, depth: item.depth + above, size: 10 }, item.name);
    const at = writer.end();
    assert.ok(leaf.fits(writer.length, prefix));
    leaf.add(writer.bytes, at, writer.length, prefix, item.name, 10);
  }
  const ref = leaf.finish();
  return { bytes: Buffer.from(leaf.bytes.subarray(0, leaf.length)), ref };
}

test('a leaf is read as it was built', () => {
  fc.assert(
    fc.property(items, fc.constantFrom('', 'home', 'home/me/a b'), (list, prefix) => {
      const { bytes, ref } = buildLeaf(list, prefix);
      assert.equal(ref.entries, list.length);
      assert.equal(ref.blobBytes, bytes.length);
      assert.equal(ref.fileBytes, list.length * 10);
      assert.equal(
        ref.path,
        list[0] === undefined ? '' : prefix === '' ? list[0].name : `${prefix}/${list[0].name}`,
      );
      const reader = new LeafReader();
      reader.open(bytes);
      assert.equal(reader.prefix, list.length === 0 ? '' : prefix);
      const read: Item[] = [];
      const above = prefix === '' ? 0 : prefix.split('/').length;
      while (reader.next())
        read.push({
          name: reader.entry.name,
          kind: reader.entry.kind,
          depth: reader.entry.depth - above,
        });
      assert.deepEqual(
        read,
        list.map((item) => ({ ...item })),
      );
      assert.equal(reader.next(), false);
    }),
  );
});

test('the same entries give the same leaf whatever the builder held before', () => {
  const list = [{ name: 'a', kind: ENTRY.file, depth: 0 }];
  const leaf = new LeafBuilder(crc);
  const writer = new EntryWriter();
  const once = (prefix: string): Buffer => {
    writer.reset();
    writer.begin({ ...ABOUT, kind: ENTRY.file, depth: 0, size: 10 }, 'a');
    const at = writer.end();
    leaf.add(writer.bytes, at, writer.length, prefix, 'a', 10);
    leaf.finish();
    const bytes = Buffer.from(leaf.bytes.subarray(0, leaf.length));
    leaf.reset();
    return bytes;
  };
  once('some/long/prefix/that/leaves/bytes/behind');
  assert.deepEqual(once(''), buildLeaf(list, '').bytes);
});

const ref = fc.record({
  name: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
  blobBytes: fc.nat(),
  entries: fc.maxSafeNat(),
  fileBytes: fc.maxSafeNat(),
  path: fc.stringMatching(/^[a-z]{0,10}(\/[a-z]{1,10}){0,3}$/),
});

test('a node is read as it was encoded', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: LIMITS.manifestLevelsMax }),
      fc.array(ref, { maxLength: 20 }),
      (level, children) => {
        const bytes = encodeNode(level, children);
        const node = decodeNode(bytes);
        assert.equal(node.level, level);
        assert.deepEqual(
          node.children.map((child) => ({ ...child, name: Buffer.from(child.name) })),
          children.map((child) => ({ ...child })),
        );
        assert.equal(bytes.length, 16 + children.reduce((sum, child) => sum + nodeBytes(child), 0));
      },
    ),
  );
});

test('nodes end by content, within their least and greatest sizes', () => {
  const child = (first: number): ManifestRef => ({
    name: Buffer.alloc(32, first),
    blobBytes: 1,
    entries: 1,
    fileBytes: 1,
    path: 'p',
  });
  assert.equal(
    nodeEndsAfter(child(0), 1, 100),
    false,
    'a node of one child would never end the tree',
  );
  assert.equal(nodeEndsAfter(child(0), LIMITS.nodeChildrenMin - 1, 100), false);
  assert.equal(nodeEndsAfter(child(64), LIMITS.nodeChildrenMin, 100), true);
  assert.equal(nodeEndsAfter(child(1), LIMITS.nodeChildrenMin, 100), false);
  assert.equal(nodeEndsAfter(child(1), LIMITS.nodeChildrenMax, 100), true);
  assert.equal(nodeEndsAfter(child(1), 2, LIMITS.leafBytesMax), true);
});

const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 });

function readsOrIsDamaged(action: () => void): void {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof PenstockError && error.code === 'DAMAGED', String(error));
  }
}

test('a damaged leaf is told, or read within its bytes', () => {
  const reader = new LeafReader();
  fc.assert(
    fc.property(
      items,
      fc.constantFrom('', 'home/me'),
      changes,
      fc.nat(100),
      (list, prefix, edits, cut) => {
        const whole = buildLeaf(list, prefix).bytes;
        const bytes = Buffer.from(
          whole.subarray(0, Math.max(0, whole.length - (cut > 60 ? cut - 60 : 0))),
        );
        // Mostly the head, where lengths stand.
        for (const [at, value] of edits)
          if (bytes.length > 0)
            bytes[at % (at % 2 === 0 ? Math.min(bytes.length, 32) : bytes.length)] = value;
        readsOrIsDamaged(() => {
          reader.open(bytes);
          assert.ok(
            reader.prefix === '' ||
              reader.prefix
                .split('/')
                .every((part) => !['', '.', '..'].includes(part) && !part.includes('\0')),
          );
          let entries = 0;
          while (reader.next()) {
            entries++;
            assert.ok(reader.entry.at + reader.entry.entryBytes <= bytes.length);
          }
          assert.equal(entries, bytes.readUInt32LE(8));
        });
      },
    ),
    { numRuns: 1000 },
  );
});

test('a damaged node is told, or read within its bytes', () => {
  fc.assert(
    fc.property(fc.array(ref, { maxLength: 8 }), changes, fc.nat(100), (children, edits, cut) => {
      const whole = encodeNode(1, children);
      const bytes = Buffer.from(
        whole.subarray(0, Math.max(0, whole.length - (cut > 60 ? cut - 60 : 0))),
      );
      for (const [at, value] of edits) if (bytes.length > 0) bytes[at % bytes.length] = value;
      readsOrIsDamaged(() => {
        const node = decodeNode(bytes);
        assert.equal(node.children.length, bytes.readUInt32LE(8));
        for (const child of node.children) assert.equal(child.name.length, 32);
      });
    }),
    { numRuns: 1000 },
  );
});

test('prefixes and depths that lead outside are refused', () => {
  for (const prefix of ['..', 'a/../b', '/etc', 'a//b', 'a/', '.', 'a\0']) {
    const { bytes } = buildLeaf([{ name: 'x', kind: ENTRY.file, depth: 0 }], prefix);
    readsOrIsDamaged(() => {
      new LeafReader().open(bytes);
      assert.fail(`${JSON.stringify(prefix)} was taken`);
    });
  }
  const jump = buildLeaf(
    [
      { name: 'file', kind: ENTRY.file, depth: 0 },
      { name: 'x', kind: ENTRY.file, depth: 1 },
    ],
    '',
  ).bytes;
  const reader = new LeafReader();
  reader.open(jump);
  assert.equal(reader.next(), true);
  assert.throws(() => reader.next(), /has no directory/);
});
