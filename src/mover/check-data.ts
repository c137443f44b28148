/**
 * Reads stored blocks and verifies each: through the pipe (fetch → verify), or, where there is little
 * to read, in this thread, since starting threads takes longer than that.
 */
import { must } from '../base/assert.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { toKeyringRecord } from '../crypto/keyring.ts';
import { DIRECTORY_RECORD_BYTES, NAME_BYTES } from '../format/block.ts';
import { type ChunkMedia, type ChunkSource, openChunkMedia } from '../format/chunk-media.ts';
import type { FetchCommand, FetchOptions, FetchWarning } from '../modules/fetch.ts';
import {
  VERIFY_COUNTER,
  type VerifyCommand,
  type VerifyMessage,
  type VerifyOptions,
  verifyWindowBytes,
} from '../modules/verify.ts';
import { BlockVerifier } from '../modules/verify-block.ts';
import {
  buildVerifyWindow,
  type WindowBlock,
  windowBlockBytes,
  writeDirectory,
} from '../modules/verify-window.ts';
import { type Pipe, startPipe } from '../pipe/mod.ts';
import { moduleFile } from './module-file.ts';
import type { Repository } from './repository.ts';

/** Up to so many bytes are read in this thread. */
const IN_THREAD_BYTES = 8 * 1024 * 1024;
const WINDOW_BLOCKS = 256;
const WINDOW_BYTES = 8 * 1024 * 1024;
/** Windows that are planned ahead. */
const WINDOWS_OUT = 2;

/** A block that is not as it should be. */
export interface BadBlock {
  readonly chunk: string;
  readonly number: number;
  readonly offset: number;
  readonly reason: string;
}

/** A block to read; `chunk` in hex. */
export interface PlannedBlock extends Omit<WindowBlock, 'chunk'> {
  readonly chunk: string;
}

export interface ReadRequest {
  /** All chunks of which blocks are read. */
  readonly chunkIds: readonly string[];
  /** Bytes of all blocks, for the choice of the way. */
  readonly bytesTotal: number;
  readonly threads: number;
  readonly memoryBytes?: number | undefined;
  readonly signal: AbortSignal;
  onBad(bad: BadBlock): void;
  /** Names of a block that was planned without them. */
  onNames(chunk: string, block: number, names: Buffer): void;
  onProgress(bytesRead: number): void;
}

export interface ReadResult {
  readonly bytes: number;
  readonly blobs: number;
}

/** Reads and verifies blocks, given chunk by chunk in ascending order of their offsets. */
export async function readBlocks(
  repository: Repository,
  blocks: Iterable<PlannedBlock>,
  request: ReadRequest,
): Promise<ReadResult> {
  return request.bytesTotal <= IN_THREAD_BYTES
    ? readInThread(repository, blocks, request)
    : new PipeReading(repository, request).run(blocks);
}

async function readInThread(
  repository: Repository,
  blocks: Iterable<PlannedBlock>,
  request: ReadRequest,
): Promise<ReadResult> {
  const media = await openChunkMedia(repository.store.chunkMedia);
  const { blockBytes } = repository.settings;
  const verifier = new BlockVerifier(repository.sealer, Buffer.allocUnsafe(blockBytes));
  const memory = Buffer.allocUnsafe(blockBytes + LIMITS.headerRoomBytes);
  const directory = Buffer.allocUnsafe(LIMITS.blobsPerBlockMax * DIRECTORY_RECORD_BYTES);
  const result = { bytes: 0, blobs: 0 };
  try {
    for (const block of blocks) {
      request.signal.throwIfAborted();
      const reason =
        readBlock(media, block, memory) ?? verifyBlock(verifier, block, memory, directory);
      if (reason !== undefined)
        request.onBad({ chunk: block.chunk, number: block.number, offset: block.offset, reason });
      else {
        const { reader, names } = verifier.opener;
        result.blobs += reader.count;
        if (block.names === undefined)
          request.onNames(
            block.chunk,
            block.number,
            Buffer.from(names.subarray(0, reader.count * NAME_BYTES)),
          );
      }
      result.bytes += block.bytes;
      request.onProgress(result.bytes);
    }
  } finally {
    media.close();
  }
  return result;
}

function readBlock(media: ChunkMedia, block: PlannedBlock, memory: Buffer): string | undefined {
  let source: ChunkSource | undefined;
  try {
    if (block.bytes > memory.length)
      return `it has ${block.bytes} bytes, more than a block may have`;
    source = media.open(block.chunk);
    const got = source.read(memory, 0, block.bytes, block.offset);
    return got === block.bytes ? undefined : 'it is cut off';
  } catch (error) {
    if (error instanceof PenstockError && !isOutOfReach(error)) return error.message;
    throw error;
  } finally {
    source?.close();
  }
}

function verifyBlock(
  verifier: BlockVerifier,
  block: PlannedBlock,
  memory: Buffer,
  directory: Buffer,
): string | undefined {
  const { names, details } = block;
  const known =
    names !== undefined && details !== undefined && block.blobCount <= LIMITS.blobsPerBlockMax;
  if (known) writeDirectory(directory, 0, names, details, block.blobCount);
  const expected = { ...block, chunkId: Buffer.from(block.chunk, 'hex') };
  return verifier.verify(memory, 0, expected, known ? directory : undefined, 0);
}

class PipeReading {
  readonly #repository: Repository;
  readonly #request: ReadRequest;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #out = new Map<number, () => void>();
  readonly #waiting: Promise<void>[] = [];
  #windows = 0;
  readonly #bad: BadBlock[] = [];
  /** Why blocks could not be read, by chunk and offset. */
  readonly #unreadable = new Map<string, string>();

  constructor(repository: Repository, request: ReadRequest) {
    this.#repository = repository;
    this.#request = request;
    this.#numbers = new Map(request.chunkIds.map((id, i) => [id, i]));
  }

  async run(blocks: Iterable<PlannedBlock>): Promise<ReadResult> {
    const pipe = await this.#start();
    const { signal } = this.#request;
    const stop = (): void => void pipe.stop('interrupted');
    signal.addEventListener('abort', stop, { once: true });
    const progress = setInterval(
      () => this.#request.onProgress(pipe.counter(VERIFY_COUNTER.bytesVerified, 'verify')),
      200,
    );
    try {
      await Promise.race([this.#plan(pipe, blocks), pipe.done]);
      await pipe.control('fetch', 'end' satisfies FetchCommand);
      await pipe.done;
    } catch (error) {
      await pipe.stop('failed');
      signal.throwIfAborted();
      throw error;
    } finally {
      clearInterval(progress);
      signal.removeEventListener('abort', stop);
    }
    this.#tellBad();
    const bytes = pipe.counter(VERIFY_COUNTER.bytesVerified, 'verify');
    this.#request.onProgress(bytes);
    return { bytes, blobs: pipe.counter(VERIFY_COUNTER.blobsVerified, 'verify') };
  }

  #start(): Promise<Pipe> {
    const { keyring, store, settings } = this.#repository;
    const { chunkIds, threads, memoryBytes } = this.#request;
    const fetch: FetchOptions = { media: store.chunkMedia, chunkIds };
    const verify: VerifyOptions = { keyring: toKeyringRecord(keyring), chunkIds };
    const instances = Math.max(1, threads);
    const perBuffer = settings.blockBytes + LIMITS.headerRoomBytes;
    const wanted = instances * 2 + 2;
    const given =
      memoryBytes === undefined
        ? wanted
        : Math.floor((memoryBytes - instances * settings.blockBytes) / perBuffer);
    if (given < 2) {
      throw new PenstockError(
        'LIMIT',
        `--memory is too small for ${instances} threads: at least ${Math.ceil((instances * settings.blockBytes + 2 * perBuffer) / 2 ** 20)} MiB are needed`,
        {
          hint: 'give more memory, or fewer --threads',
        },
      );
    }
    return startPipe({
      maxBuffers: Math.min(given, wanted),
      payloadBytes: settings.blockBytes,
      sharedWords: 8,
      stages: [
        { name: 'fetch', modules: [{ module: moduleFile('fetch'), options: fetch }] },
        {
          name: 'verify',
          modules: [{ module: moduleFile('verify'), options: verify }],
          instances,
          windowBytes: verifyWindowBytes(settings.blockBytes),
        },
      ],
      onMessage: (_stage: string, _instance: number, message: unknown) =>
        this.#message(message as VerifyMessage),
      onWarning: (_stage: string, _instance: number, message: unknown) => {
        const { chunk, offset, message: reason } = message as FetchWarning;
        this.#unreadable.set(`${chunk} ${offset}`, reason);
      },
    });
  }

  async #plan(pipe: Pipe, blocks: Iterable<PlannedBlock>): Promise<void> {
    let window: WindowBlock[] = [];
    let bytes = 0;
    for (const block of blocks) {
      const numbered = {
        ...block,
        chunk: must(this.#numbers.get(block.chunk), 'a planned chunk has a number'),
      };
      window.push(numbered);
      bytes += windowBlockBytes(numbered);
      if (window.length < WINDOW_BLOCKS && bytes < WINDOW_BYTES) continue;
      await this.#send(pipe, window);
      window = [];
      bytes = 0;
    }
    if (window.length > 0) await this.#send(pipe, window);
    await Promise.all(this.#waiting);
  }
  async #send(pipe: Pipe, blocks: readonly WindowBlock[]): Promise<void> {
    const number = this.#windows++;
    this.#waiting.push(new Promise<void>((resolve) => this.#out.set(number, resolve)));
    const window = buildVerifyWindow(number, blocks);
    await pipe.control('verify', { window } satisfies VerifyCommand);
    await pipe.control('fetch', { window } satisfies FetchCommand);
    if (this.#waiting.length > WINDOWS_OUT) await this.#waiting.shift();
  }

  #message(message: VerifyMessage): void {
    if (message.type === 'window') {
      this.#out.get(message.number)?.();
      this.#out.delete(message.number);
      return;
    }
    const chunk = must(this.#request.chunkIds[message.chunk], 'a chunk that was planned');
    if (message.type === 'names') {
      const { buffer, byteOffset, byteLength } = message.names;
      this.#request.onNames(chunk, message.block, Buffer.from(buffer, byteOffset, byteLength));
    } else {
      const { block: number, offset, reason } = message;
      this.#bad.push({ chunk, number, offset, reason });
    }
  }

  /** Once all has come: why a block could not be read is told by another thread. */
  #tellBad(): void {
    for (const bad of this.#bad) {
      const reason = this.#unreadable.get(`${bad.chunk} ${bad.offset}`);
      this.#request.onBad(reason === undefined ? bad : { ...bad, reason });
    }
  }
}
