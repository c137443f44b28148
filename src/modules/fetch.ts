/**
 * Stage `fetch`: the head of a restore or a check. Reads sealed blocks in the order of the plan, which
 * is that of their positions, so that media are read once and forward. Windows come as control
 * messages; a block that cannot be read is sent on empty, with the reason counted against it.
 */
import { must } from '../base/assert.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import {
  type ChunkMedia,
  type ChunkMediaPlace,
  type ChunkSource,
  openChunkMedia,
} from '../format/chunk-media.ts';
import type { ModuleContext, PipeModule } from '../pipe/mod.ts';
import { RestoreWindow } from './restore-window.ts';

export interface FetchOptions {
  readonly media: ChunkMediaPlace;
  /** Ids of the chunks by number. */
  readonly chunkIds: readonly string[];
}

/** Control messages: a window to read, or the end. */
export type FetchCommand = { readonly window: SharedArrayBuffer } | 'end';

/** Why a block of a chunk could not be read. */
export interface FetchWarning {
  readonly chunk: string;
  readonly offset: number;
  readonly code: string;
  readonly message: string;
}

/** Words of a buffer. `bytes` 0: the block could not be read; else it begins in the header room. */
export const FETCH_WORD = { window: 0, block: 1, chunk: 2, bytes: 3 } as const;
export const FETCH_COUNTER = {
  bytesFetched: 0,
  blocksFetched: 1,
  bytesRestored: 2,
  filesRestored: 3,
} as const;
/** Shared word of the pipe that counts commands. */
const COMMAND_WORD = 0;
/** Chunks that are open at once: several interleave on a volume. */
const SOURCES_MAX = 16;

export default function fetch(options: FetchOptions): PipeModule {
  const queue: FetchCommand[] = [];
  let media: ChunkMedia | undefined;
  return {
    open: async () => {
      media = await openChunkMedia(options.media);
    },
    control: (message, context) => {
      queue.push(message as FetchCommand);
      Atomics.add(context.sharedWords, COMMAND_WORD, 1);
      return undefined;
    },
    run: (context) => {
      const fetching = new Fetching(context, must(media, 'fetching was opened'), options.chunkIds);
      for (;;) {
        const count = Atomics.load(context.sharedWords, COMMAND_WORD);
        const command = queue.shift();
        if (command === 'end') break;
        if (command !== undefined) fetching.window(new RestoreWindow(command.window));
        else context.whileShared(COMMAND_WORD, count);
      }
      fetching.close();
      media?.close();
    },
    abort: () => undefined,
  };
}

class Fetching {
  readonly #context: ModuleContext;
  readonly #media: ChunkMedia;
  readonly #chunkIds: readonly string[];
  /** Those that were read last, by number. */
  readonly #sources = new Map<number, ChunkSource>();

  constructor(context: ModuleContext, media: ChunkMedia, chunkIds: readonly string[]) {
    this.#context = context;
    this.#media = media;
    this.#chunkIds = chunkIds;
  }

  window(window: RestoreWindow): void {
    const blocks = Array.from({ length: window.blocks }, (_, block) => block);
    for (let left = blocks; left.length > 0; ) {
      const now = this.#next(window, left);
      for (const block of now) this.#block(window, block);
      const done = new Set(now);
      left = left.filter((block) => !done.has(block));
    }
  }

  /** What is read now, in the order that is best for the media. */
  #next(window: RestoreWindow, left: readonly number[]): readonly number[] {
    const { nextReads } = this.#media;
    if (nextReads === undefined) return left;
    const ranges = left.map((block) => ({
      id: this.#idOf(window.chunk(block)),
      position: window.offset(block),
      length: window.blockBytes(block),
    }));
    const order = nextReads(ranges);
    return order.length === 0
      ? left
      : order.map((i) => must(left[i], 'a block that was asked for'));
  }
  #idOf(chunk: number): string {
    return must(this.#chunkIds[chunk], 'a planned chunk has an id');
  }

  #block(window: RestoreWindow, block: number): void {
    const buffer = this.#context.allocBuf();
    const chunk = window.chunk(block);
    const bytes = window.blockBytes(block);
    buffer.setWord(FETCH_WORD.window, window.number);
    buffer.setWord(FETCH_WORD.block, block);
    buffer.setWord(FETCH_WORD.chunk, chunk);
    // The tag header goes into the header room, as far as it reaches: one read, one piece.
    const room = buffer.headerRoom + buffer.payloadCapacity;
    const read =
      bytes <= room &&
      this.#read(chunk, window.offset(block), bytes, buffer.memory, buffer.headerOffset);
    buffer.setWord(FETCH_WORD.bytes, read ? bytes : 0);
    buffer.length = 0;
    this.#context.progress(FETCH_COUNTER.bytesFetched, bytes);
    this.#context.progress(FETCH_COUNTER.blocksFetched, 1);
    this.#context.sendBuf(buffer);
  }

  #read(chunk: number, offset: number, bytes: number, memory: Buffer, at: number): boolean {
    try {
      return this.#source(chunk).read(memory, at, bytes, offset) === bytes;
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      const { code, message } = error;
      const warning = { chunk: this.#idOf(chunk), offset, code, message };
      this.#context.warn(warning satisfies FetchWarning);
      return false;
    }
  }

  #source(chunk: number): ChunkSource {
    const known = this.#sources.get(chunk);
    if (known !== undefined) return known;
    if (this.#sources.size >= SOURCES_MAX) this.close();
    const source = this.#media.open(this.#idOf(chunk));
    this.#sources.set(chunk, source);
    return source;
  }

  close(): void {
    for (const source of this.#sources.values()) source.close();
    this.#sources.clear();
  }
}
