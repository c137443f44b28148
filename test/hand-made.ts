/**
 * Archives made by hand: whatever entries a test wants, valid or not, sealed as a backup seals them.
 */
import assert from 'node:assert/strict';
import { LIMITS } from '../src/base/limits.ts';
import { toKeyringRecord } from '../src/crypto/keyring.ts';
import { BLOB } from '../src/format/block.ts';
import { writeBlobRecord } from '../src/format/content.ts';
import { ENTRY, type EntryFields, EntryWriter } from '../src/format/entry.ts';
import { LeafBuilder } from '../src/format/manifest.ts';
import { CONTENT_CLASS } from '../src/format/tag-header.ts';
import type { ChunkWriterOptions, PlacedChunk } from '../src/modules/chunk-writer.ts';
import { sealWindowBytes } from '../src/modules/window-bytes.ts';
import { type Archive, encodeArchive } from '../src/mover/archives.ts';
import { storeSegment, toChunkNames } from '../src/mover/index-store.ts';
import { moduleFile } from '../src/mover/module-file.ts';
import type { Repository } from '../src/mover/repository.ts';
import { startPipe } from '../src/pipe/mod.ts';
import type { BlobsHeadOptions } from './fault/fixtures/blobs-head.ts';

/** An entry; what is not given is ordinary. */
export interface HandMadeEntry extends Partial<EntryFields> {
  readonly name: string;
  readonly content?: string;
  /** Of the content record, where it is not that of the content. */
  readonly contentLength?: number;
  readonly extras?: readonly (readonly [type: number, value: string | Buffer])[];
}

export interface HandMadeLeaf {
  readonly entries: readonly HandMadeEntry[];
  /** Path of the directory of the first entry. */
  readonly prefix?: string;
}

const FIELDS: EntryFields = {
  ...{ kind: ENTRY.file, flags: 0, mode: 0o644, depth: 0, uid: 0, gid: 0, links: 1, inode: 1 },
  ...{ mtimeSeconds: 1, mtimeNanos: 1, ctimeSeconds: 1, ctimeNanos: 1 },
  ...{ size: 0, deviceMajor: 0, deviceMinor: 0 },
};

type Blob = BlobsHeadOptions['blobs'][number];

/** Stores an archive of one leaf. `change` may spoil the leaf before it is sealed. */
export async function storeHandMade(
  repository: Repository,
  leaf: HandMadeLeaf,
  change: (bytes: Buffer) => void = () => {},
): Promise<Archive> {
  const contents = leaf.entries.map(({ content }) => content ?? '');
  const data = contents
    .filter((content) => content !== '')
    .map((content) => ({
      contentClass: CONTENT_CLASS.compressible,
      type: BLOB.data,
      bytes: Buffer.from(content),
    }));
  const names = data.length === 0 ? [] : await storeBlobs(repository, data);
  const byContent = new Map(data.map(({ bytes }, i) => [bytes.toString(), names[i] as Buffer]));
  const bytes = encodeLeaf(repository, leaf, byContent);
  change(bytes);
  const manifest = { contentClass: CONTENT_CLASS.manifest, type: BLOB.leaf, bytes };
  const [root] = await storeBlobs(repository, [manifest]);
  assert.ok(root !== undefined);
  return storeRecord(repository, root, bytes.length, leaf.entries.length);
}

function encodeLeaf(
  repository: Repository,
  { entries, prefix = '' }: HandMadeLeaf,
  byContent: ReadonlyMap<string, Buffer>,
): Buffer {
  const { codec } = repository;
  const builder = new LeafBuilder((view, at, length, seed) => codec.crc32c(view, at, length, seed));
  for (const entry of entries) {
    const { name, content = '', contentLength = content.length, extras = [], ...fields } = entry;
    const writer = new EntryWriter();
    writer.begin({ ...FIELDS, size: content.length, ...fields }, name);
    const blob = byContent.get(content);
    if (blob !== undefined) {
      const at = writer.content();
      writeBlobRecord(writer.bytes, at, contentLength, blob);
    }
    for (const [type, value] of extras) writer.extra(type, Buffer.from(value as string));
    writer.end();
    builder.add(writer.bytes, 0, writer.length, prefix, name, 0);
  }
  builder.finish();
  return Buffer.from(builder.bytes.subarray(0, builder.length));
}

/** Seals blobs into chunks of their own; returns their names. */
export async function storeBlobs(
  repository: Repository,
  blobs: readonly Blob[],
): Promise<Buffer[]> {
  const { around, settings, store } = repository;
  const keyring = toKeyringRecord(repository.keyring);
  const session = around.random.bytes(16).toString('hex');
  const chunks: ChunkWriterOptions = {
    session,
    chunkBytes: settings.chunkBytes,
    writer: 'test',
    createdMs: 1,
  };
  const head: BlobsHeadOptions = { keyring, blobs };
  const placed: PlacedChunk[] = [];
  let names: Buffer[] = [];
  const pipe = await startPipe({
    maxBuffers: 12,
    payloadBytes: settings.blockBytes,
    directoryBytes: LIMITS.blobsPerBlockMax * 40,
    stages: [
      {
        name: 'head',
        modules: [
          { module: new URL('./fault/fixtures/blobs-head.ts', import.meta.url), options: head },
        ],
      },
      {
        name: 'seal',
        modules: [{ module: moduleFile('seal'), options: { keyring, level: 1, windowAt: 0 } }],
        windowBytes: sealWindowBytes(settings.blockBytes),
      },
      {
        name: 'place',
        modules: [
          { module: moduleFile('place'), options: { keyring, media: store.chunkMedia, chunks } },
        ],
      },
    ],
    onMessage: (_stage, _instance, message) => {
      const posted = message as { type: string; names?: Uint8Array[]; chunk: PlacedChunk };
      if (posted.type === 'placed') placed.push(posted.chunk);
      else names = (posted.names ?? []).map((name) => Buffer.from(name));
    },
  });
  await pipe.done;
  for (const chunk of placed) await storeSegment(repository, [toChunkNames(chunk, session)]);
  return names;
}

async function storeRecord(
  repository: Repository,
  name: Buffer,
  blobBytes: number,
  entries: number,
): Promise<Archive> {
  const id = repository.around.random.bytes(16).toString('hex');
  const archive: Archive = {
    id,
    session: id,
    name: 'hand-made',
    host: '',
    user: '',
    paths: ['/'],
    startedMs: 1,
    endedMs: 1,
    partial: false,
    previous: undefined,
    root: { level: 0, ref: { name, blobBytes, entries, fileBytes: 0, path: '' } },
    owners: [],
    groups: [],
    statistics: {
      ...{ files: 0, entries: 0, bytes: 0, bytesRead: 0 },
      ...{ bytesNew: 0, bytesStored: 0, problems: 0 },
    },
    chunks: [],
    protectedUntilMs: undefined,
    writer: 'test',
    system: 'linux bytes',
  };
  await repository.store.put('archives', id, encodeArchive(repository, archive));
  return archive;
}
