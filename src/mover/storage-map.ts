/**
 * The storage map (M4, M8): which chunks there are, in which pool, with their block tables, and which
 * archive needs which of them. One of the three places from which a repository can be read back; the
 * others are the index and the chunks themselves (rebuild.ts).
 *
 * Map records lie under `maps/`, sealed:
 *   session-<session>-<random>    what one session has written: its chunks, and the archive that it
 *                                 committed. Long ones are several records.
 *   forgotten-<random>            see forgotten.ts
 * The clear part repeats the name, so that a record that was moved is recognised. A record is written
 * after what it tells of is durable and published: it never tells of what is not there, but may be
 * missing after a crash. Records of one session say the same where they overlap.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockPlace } from '../format/chunk.ts';
import { RECORD } from '../format/record.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';
import {
  type Archive,
  type ArchiveHead,
  type ArchiveParts,
  headFromParts,
  toArchiveParts,
} from './archives.ts';
import type { Repository } from './repository.ts';

/** The pool that every repository has: its own storage. */
export const ROOT_POOL = 'root';
const BLOCK_BYTES = 16;
/** Keeps one record far below LIMITS.recordBytesMax. */
const BLOCKS_PER_RECORD = 512 * 1024;
const CHUNKS_PER_RECORD = 16 * 1024;

/** What is known of a chunk without its blobs' names; ids are hex. */
export interface ChunkTable {
  readonly id: string;
  readonly contentClass: number;
  readonly bytes: number;
  readonly blocks: readonly BlockPlace[];
}

export interface MappedChunk extends ChunkTable {
  readonly pool: string;
  readonly session: string;
}

export interface SessionMap {
  /** Name of the record under maps/. */
  readonly name: string;
  readonly session: string;
  readonly chunks: readonly MappedChunk[];
  readonly archive: ArchiveHead | undefined;
}

interface ClearPart {
  readonly name: string;
}

interface StoredChunk {
  readonly id: string;
  readonly pool: string;
  readonly class: number;
  readonly bytes: number;
  /** Per block u64 offset | u32 bytes | u32 number of blobs, base64. */
  readonly blocks: string;
}

interface SealedPart {
  readonly session: string;
  readonly chunks: readonly StoredChunk[];
  readonly archive?: ArchiveParts;
}

/**
 * Stores what a session has written: `chunks` are all of its chunks so far, those without blobs too.
 * To be called when the archive is published; earlier records of the session are then dropped.
 *
 * @param archive undefined for a session that moves chunks and makes no archive: give `session` then
 * @throws REPO_FULL, REPO_IO, REPO_READ_ONLY: the archive is good all the same, `catalog rebuild` makes
 *   the map again
 */
export async function storeMapRecords(
  repository: Repository,
  chunks: readonly ChunkTable[],
  archive: Archive | undefined,
  session: string | undefined = archive?.session,
): Promise<void> {
  if (session === undefined) throw new PenstockError('INTERNAL', 'a map record of no session');
  const earlier = (await repository.store.list('maps')).filter(({ name }) =>
    name.startsWith(`session-${session}-`),
  );
  const parts = splitChunks(chunks);
  const told = archive === undefined ? undefined : toArchiveParts(archive);
  for (const [i, part] of parts.entries()) {
    await putSessionMap(repository, session, part, i === 0 ? told : undefined);
  }
  if (repository.store.appendOnly === true) return;
  for (const { name } of earlier) await repository.store.remove('maps', name);
}

async function putSessionMap(
  repository: Repository,
  session: string,
  chunks: readonly ChunkTable[],
  archive: ArchiveParts | undefined,
): Promise<void> {
  const sealed: SealedPart = {
    session,
    chunks: chunks.map((chunk) => ({
      id: chunk.id,
      pool: repository.pooled?.target?.id ?? ROOT_POOL,
      class: chunk.contentClass,
      bytes: chunk.bytes,
      blocks: encodeBlocks(chunk.blocks),
    })),
    ...(archive === undefined ? {} : { archive }),
  };
  await putMapRecord(repository, `session-${session}-`, sealed);
}

/** Puts a map record of a random name that begins with `prefix`. Returns the name. */
export async function putMapRecord(
  repository: Repository,
  prefix: string,
  sealed: unknown,
): Promise<string> {
  const id = repository.around.random.bytes(16);
  const name = `${prefix}${id.toString('hex')}`;
  const clear: ClearPart = { name };
  const fresh = await repository.store.put(
    'maps',
    name,
    repository.sealer.encodeRecord(RECORD.map, id, clear, sealed),
  );
  if (!fresh)
    throw new PenstockError('INTERNAL', `a map record of the name ${name} is there already`);
  return name;
}

function splitChunks(chunks: readonly ChunkTable[]): ChunkTable[][] {
  const parts: ChunkTable[][] = [[]];
  let blocks = 0;
  for (const chunk of chunks) {
    const last = parts.at(-1);
    blocks += chunk.blocks.length;
    if (last === undefined || last.length >= CHUNKS_PER_RECORD || blocks > BLOCKS_PER_RECORD) {
      parts.push([chunk]);
      blocks = chunk.blocks.length;
    } else last.push(chunk);
  }
  return parts;
}

function encodeBlocks(blocks: readonly BlockPlace[]): string {
  const bytes = Buffer.alloc(blocks.length * BLOCK_BYTES);
  for (const [i, block] of blocks.entries()) {
    writeU64(bytes, i * BLOCK_BYTES, block.offset);
    bytes.writeUInt32LE(block.bytes, i * BLOCK_BYTES + 8);
    bytes.writeUInt32LE(block.blobCount, i * BLOCK_BYTES + 12);
  }
  return bytes.toString('base64');
}

function decodeBlocks(text: string): BlockPlace[] {
  const bytes = Buffer.from(text, 'base64');
  const blocks: BlockPlace[] = [];
  for (let at = 0; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
    blocks.push({
      offset: readU64(bytes, at),
      bytes: bytes.readUInt32LE(at + 8),
      blobCount: bytes.readUInt32LE(at + 12),
    });
  }
  return blocks;
}

export const isSessionMap = (name: string): boolean =>
  /^session-[0-9a-f]{32}-[0-9a-f]{32}$/.test(name);

/** Reads one record and checks that it is what its name says. OBJECT_MISSING, DAMAGED, REPO_FEATURE. */
export async function readMapRecord<Sealed>(repository: Repository, name: string): Promise<Sealed> {
  const subject = `maps/${name}`;
  const bytes = await repository.store.read('maps', name, LIMITS.recordBytesMax);
  const { clear, sealed } = repository.sealer.decodeRecord<ClearPart, Sealed>(
    bytes,
    RECORD.map,
    subject,
  );
  if (clear.name !== name) {
    throw new PenstockError(
      'DAMAGED',
      `${subject} is damaged: it is the record maps/${clear.name}`,
      { subject },
    );
  }
  return sealed;
}

/** Reads a session's record. OBJECT_MISSING, DAMAGED, REPO_FEATURE. */
export async function readSessionMap(repository: Repository, name: string): Promise<SessionMap> {
  const { session, chunks, archive } = await readMapRecord<SealedPart>(repository, name);
  return {
    name,
    session,
    chunks: chunks.map((chunk) => toMapped(chunk, session)),
    archive: archive === undefined ? undefined : headFromParts(archive.clear, archive.sealed),
  };
}

function toMapped(chunk: StoredChunk, session: string): MappedChunk {
  const { id, pool, bytes } = chunk;
  return {
    id,
    pool,
    session,
    contentClass: chunk.class,
    bytes,
    blocks: decodeBlocks(chunk.blocks),
  };
}

export interface MapList {
  readonly sessions: readonly SessionMap[];
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
}

/** Reads all session records; damaged ones are left out and named. */
export async function listSessionMaps(repository: Repository): Promise<MapList> {
  const { records, damaged } = await readMapRecords(repository, isSessionMap, readSessionMap);
  return { sessions: [...records.values()], damaged };
}

export interface MapRecords<Record> {
  /** By their names. */
  readonly records: ReadonlyMap<string, Record>;
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
}

/** How often names are listed again because records were replaced before they were read. */
const LISTINGS_MAX = 100;

/**
 * Reads all records whose names are wanted: of what was stored before the call nothing is missed, though others
 * replace records meanwhile. What was replaced may be among them, beside what took its place. Damaged ones
 * are left out and named.
 *
 * @param read reads one of them; OBJECT_MISSING and DAMAGED are no errors of the whole
 * @throws what ends a listing, or says that the storage is out of reach
 */
export async function readMapRecords<Record>(
  repository: Repository,
  isWanted: (name: string) => boolean,
  read: (repository: Repository, name: string) => Promise<Record>,
): Promise<MapRecords<Record>> {
  const records = new Map<string, Record>();
  const damaged = new Map<string, PenstockError>();
  for (let listing = 1; ; listing++) {
    let isNew = false;
    for (const { name } of await repository.store.list('maps')) {
      if (!isWanted(name) || records.has(name) || damaged.has(name)) continue;
      isNew = true;
      try {
        records.set(name, await read(repository, name));
      } catch (error) {
        if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
        if (error.code !== 'OBJECT_MISSING') damaged.set(name, error);
      }
    }
    // What replaces a record is stored before that is removed: it is in the next listing. One is not
    // enough: of a record that is replaced while a directory is read neither the old nor the new may show.
    if ((listing > 1 && !isNew) || listing === LISTINGS_MAX)
      return { records, damaged: [...damaged].map(([name, error]) => ({ name, error })) };
  }
}

/**
 * Brings the map up to date after a prune: chunks that are gone and archives that were forgotten are
 * left out of its records. A record is replaced only once the new one is durable.
 *
 * @param isPresent whether a chunk (hex id) is there
 * @returns how many records were changed or removed
 */
export async function tidyMapRecords(
  repository: Repository,
  isPresent: (chunkId: string) => boolean,
  forgotten: ReadonlySet<string>,
): Promise<number> {
  let changed = 0;
  for (const { name } of await repository.store.list('maps')) {
    if (!isSessionMap(name)) continue;
    let map: SealedPart;
    try {
      map = await readMapRecord<SealedPart>(repository, name);
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      continue;
    }
    const chunks = map.chunks.filter((chunk) => isPresent(chunk.id));
    const isForgotten = map.archive !== undefined && forgotten.has(map.archive.clear.id);
    if (chunks.length === map.chunks.length && !isForgotten) continue;
    changed++;
    const archive = isForgotten ? undefined : map.archive;
    const tables = chunks.map((chunk) => toMapped(chunk, map.session));
    if (chunks.length > 0 || archive !== undefined) {
      await putSessionMap(repository, map.session, tables, archive);
    }
    await repository.store.remove('maps', name);
  }
  return changed;
}
