/**
 * The pipe of a backup: scan → walk → work (collect and seal, fused) × n → place. Where many run at once, the
 * walk scans too; where they are as many as the processors, all of each runs in one thread, as plain
 * procedures (P7): further threads would only take turns, and each has a heap and loads its code.
 *
 * Collecting and sealing run in one stage of several instances: each reads, cuts, names, compresses
 * and encrypts, and hands on sealed blocks only. Its buffers and windows bound the memory (U9).
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { toKeyringRecord } from '../crypto/keyring.ts';
import { DIRECTORY_RECORD_BYTES } from '../format/block.ts';
import type { IndexShare } from '../index/blob-index.ts';
import { createSessionTable } from '../index/session-table.ts';
import type { ChunkWriterOptions } from '../modules/chunk-writer.ts';
import type { CollectOptions } from '../modules/collect.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';
import type { PlaceOptions } from '../modules/place.ts';
import type { ScanOptions } from '../modules/scan.ts';
import type { SealOptions } from '../modules/seal.ts';
import { sourceTree } from '../modules/source-tree.ts';
import type { WalkOptions } from '../modules/walk-options.ts';
import { COLLECT_WINDOW_BYTES, sealWindowBytes } from '../modules/window-bytes.ts';
import type { ModuleSpec, PipeSpec, StageSpec } from '../pipe/mod.ts';
import type { BackupRequest } from './backup.ts';
import { moduleFile } from './module-file.ts';
import type { Repository } from './repository.ts';

/** What the pipe is made of. */
export interface BackupParts {
  readonly repository: Repository;
  readonly request: BackupRequest;
  readonly index: IndexShare;
  readonly bases: readonly ManifestRoot[];
  readonly chunks: ChunkWriterOptions;
  readonly startedMs: number;
}

/** Of each allocating instance: an open buffer per content class and one on its way. */
const BUFFERS_LEAST = 4;
/** Of one thread for all: a plan, an open buffer per content class and of the manifest, one on its way. */
const BUFFERS_OF_ONE = 6;

function modulesOf(module: URL, options?: unknown): readonly ModuleSpec[] {
  return [{ module, options }];
}

/** The pipe of a backup. LIMIT when the memory that it may use is too little. */
export function backupPipe(parts: BackupParts): PipeSpec {
  const { blockBytes } = parts.repository.settings;
  const directoryBytes = LIMITS.blobsPerBlockMax * DIRECTORY_RECORD_BYTES;
  return {
    maxBuffers: bufferCount(parts, blockBytes + directoryBytes + LIMITS.headerRoomBytes),
    payloadBytes: blockBytes,
    directoryBytes,
    sharedWords: 8,
    links: isInOneThread(parts.request) ? [] : [['walk', 'work']],
    stages: stagesOf(parts),
  };
}

function bufferCount({ repository, request }: BackupParts, bufferBytes: number): number {
  const threads = threadsOf(request);
  const least = leastBuffers(request);
  const fixed = threads * windowBytes(repository);
  const memory = request.memoryBytes;
  if (memory === undefined) return Math.min(least, LIMITS.buffersMax);
  const given = Math.floor((memory - fixed) / bufferBytes);
  if (given >= least) return Math.min(given, LIMITS.buffersMax);
  const needed = Math.ceil((fixed + least * bufferBytes) / 2 ** 20);
  const message = `--memory is too small for ${threads} threads: at least ${needed}M are needed`;
  throw new PenstockError('LIMIT', message, { hint: 'give more memory, or fewer --threads' });
}

function leastBuffers(request: BackupRequest): number {
  if (isInOneThread(request)) return BUFFERS_OF_ONE;
  // The scan, where it is a stage, and the walk allocate too.
  return (threadsOf(request) + (request.isOneOfMany === true ? 1 : 2)) * BUFFERS_LEAST;
}

function threadsOf(request: BackupRequest): number {
  return Math.max(1, request.threads);
}

/** Whether the pipe has only the stage `walk`, which does everything. */
export function isInOneThread({ isOneOfMany, threads }: BackupRequest): boolean {
  return isOneOfMany === true && threads <= 1;
}
function windowBytes(repository: Repository): number {
  return COLLECT_WINDOW_BYTES + sealWindowBytes(repository.settings.blockBytes);
}

function stagesOf(parts: BackupParts): StageSpec[] {
  const { repository, request, index, bases, chunks, startedMs } = parts;
  const keyring = toKeyringRecord(repository.keyring);
  const session = createSessionTable();
  const media = repository.pooled?.mediaOf(chunks.session) ?? repository.store.chunkMedia;
  const scan: ScanOptions = {
    sources: sourceTree(request.paths),
    selection: request.selection,
  };
  const walk: WalkOptions = {
    bases,
    keyring,
    index,
    session,
    media,
    startedMs,
    ...(request.isOneOfMany === true ? { scan } : {}),
  };
  const { nameKey, cutKey, indexKey } = repository.keyring;
  const collect: CollectOptions = { nameKey, cutKey, indexKey, index, session };
  const seal: SealOptions = { keyring, level: request.level, windowAt: COLLECT_WINDOW_BYTES };
  const place: PlaceOptions = { keyring, media, chunks };
  const walking = modulesOf(moduleFile('walk'), walk);
  const working = [
    ...modulesOf(moduleFile('collect'), collect),
    ...modulesOf(moduleFile('seal'), seal),
  ];
  const placing = request.dryRun
    ? modulesOf(moduleFile('discard'))
    : modulesOf(moduleFile('place'), place);
  if (isInOneThread(request)) {
    const modules = [...walking, ...working, ...placing];
    return [{ name: 'walk', modules, windowBytes: windowBytes(repository) }];
  }
  return [
    ...(request.isOneOfMany === true
      ? []
      : [{ name: 'scan', modules: modulesOf(moduleFile('scan'), scan) }]),
    { name: 'walk', modules: walking, allocates: true },
    {
      name: 'work',
      modules: working,
      instances: threadsOf(request),
      allocates: true,
      windowBytes: windowBytes(repository),
      startWhen: 'first-buffer',
    },
    // Else blocks would fill the segment while its code is loaded.
    { name: 'place', modules: placing, startWhen: 'first-buffer', warmWith: 'work' },
  ];
}
