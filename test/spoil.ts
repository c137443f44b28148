/**
 * Damage of single blobs: a repository in which the index leads astray for one of them, or does not
 * know it, so that no more than this blob is lost, whatever stands in its block.
 */
import assert from 'node:assert/strict';
import { must } from '../src/base/assert.ts';
import { NAME_BYTES } from '../src/format/block.ts';
import { INDEX_RECORD_BYTES, layoutOf, readIndexHead } from '../src/format/index-segment.ts';
import type { ManifestRef } from '../src/format/manifest.ts';
import { assembleSegment, readTables } from '../src/index/segment-builder.ts';
import type { Archive } from '../src/mover/archives.ts';
import { indexHash } from '../src/mover/index-store.ts';
import { leavesOf } from '../src/mover/manifest-leaves.ts';
import { walkManifest } from '../src/mover/manifest-walk.ts';
import { type ArchiveReader, openArchiveReader } from '../src/mover/reader.ts';
import type { Repository } from '../src/mover/repository.ts';

/** `missing`: OBJECT_MISSING when it is read; `damaged`: DAMAGED. */
export type Spoiling = 'missing' | 'damaged';

/** Spoils a blob in all index segments; returns what takes it back. */
export async function spoilBlob(
  repository: Repository,
  name: Buffer,
  how: Spoiling,
): Promise<() => Promise<void>> {
  const { store } = repository;
  const segments = new Map<string, Buffer>();
  for (const { name: file } of await store.list('index'))
    segments.set(file, Buffer.from(await store.read('index', file, 2 ** 30)));
  const chunks = [...segments].flatMap(([file, bytes]) =>
    readTables(bytes, readIndexHead(bytes, bytes.length, file)),
  );
  const put = async (file: string, bytes: Buffer): Promise<void> => {
    await store.remove('index', file);
    await store.put('index', file, bytes);
  };
  const spoiled: string[] = [];
  for (const [file, bytes] of segments) {
    const shape = readIndexHead(bytes, bytes.length, file);
    const tables = readTables(bytes, shape);
    if (how === 'damaged' && tables.length === 1)
      tables.push(
        must(
          chunks.find(({ id }) => !tables[0]?.id.equals(id)),
          'another chunk',
        ),
      );
    const from = layoutOf(shape).records;
    let hits = 0;
    const records = Array.from({ length: shape.nameCount }, (_, i) => {
      const at = from + i * INDEX_RECORD_BYTES;
      const record = Buffer.from(bytes.subarray(at, at + INDEX_RECORD_BYTES));
      if (!record.subarray(0, NAME_BYTES).equals(name)) return record;
      hits++;
      if (how === 'missing') return Buffer.alloc(0);
      record.writeUInt32LE((record.readUInt32LE(32) + 1) % tables.length, 32);
      record.writeUInt32LE(0, 36);
      return record;
    });
    if (hits === 0) continue;
    const id = Buffer.from(file, 'hex');
    const sorted = Buffer.concat(records);
    await put(file, assembleSegment(id, tables, sorted, indexHash(repository)));
    spoiled.push(file);
  }
  assert.ok(spoiled.length > 0, 'the index knows the blob');
  return async () => {
    for (const file of spoiled) await put(file, must(segments.get(file), 'what was there'));
  };
}

async function reading<T>(repository: Repository, work: (reader: ArchiveReader) => T): Promise<T> {
  const reader = await openArchiveReader(repository);
  try {
    return work(reader);
  } finally {
    await reader.close();
  }
}

/** The leaves of an archive, in order. */
export function leafRefs(repository: Repository, { root }: Archive): Promise<ManifestRef[]> {
  return reading(repository, ({ blobs }) =>
    [...leavesOf(blobs, root)].map(({ ref }) => ({ ...ref, name: Buffer.from(ref.name) })),
  );
}

/** Paths of all entries of an archive, in order. */
export function pathsOf(repository: Repository, { root }: Archive): Promise<string[]> {
  return reading(repository, ({ blobs }) => {
    const paths: string[] = [];
    for (const { path } of walkManifest(blobs, root, [])) paths.push(path);
    return paths;
  });
}

/** Names of the blobs that the entry of a path names itself: of its content, or of lists of it. */
export function blobsOf(
  repository: Repository,
  { root }: Archive,
  path: string,
): Promise<{ readonly levels: number; readonly names: Buffer[] }> {
  return reading(repository, ({ blobs }) => {
    for (const walked of walkManifest(blobs, root, [path])) {
      const { entry } = walked;
      if (walked.path !== path) continue;
      const names: Buffer[] = [];
      for (let i = 0; i < entry.contentCount; i++) {
        const at = entry.contentAt + i * 40 + 8;
        names.push(Buffer.from(entry.bytes.subarray(at, at + 32)));
      }
      return { levels: entry.contentLevels, names };
    }
    throw new Error(`no ${path}`);
  });
}
