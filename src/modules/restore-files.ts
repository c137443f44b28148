/**
 * Stage `restore`: the tail of a restore. Opens each block, and writes the verified blobs that the
 * plan wants into files.
 *
 * A file of one blob is created when that blob has been verified; the pieces of larger ones go to a
 * file under a temporary name, which the initiator renames when the last has come. So damage never
 * leaves a wrong file; what it costs the initiator looks for elsewhere (mover/restore-retry.ts).
 * Files are created by the handle of their directory, without following links and without
 * replacing: what stands in the way is told to the initiator, who decides.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { fromKeyringRecord, type KeyringRecord } from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import { NAME_BYTES } from '../format/block.ts';
import { EntryView } from '../format/entry.ts';
import { errnoName, type Files, openCodec, openFiles, openRandom } from '../host/mod.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { BlockOpener } from './block-opener.ts';
import { CreatedFiles } from './created-files.ts';
import { FETCH_COUNTER, FETCH_WORD } from './fetch.ts';
import { type MetadataOptions, type MetadataRefusals, MetadataWriter } from './file-metadata.ts';
import { RestoreWindow, Slots } from './restore-window.ts';

export interface RestoreFilesOptions {
  readonly keyring: KeyringRecord;
  readonly slots: SharedArrayBuffer;
  readonly metadata: MetadataOptions;
  /** Files are not written, only verified. */
  readonly dryRun: boolean;
}

export type RestoreCommand = { readonly window: SharedArrayBuffer };

/** What an instance tells the initiator. */
export type RestoreMessage =
  | { readonly type: 'window'; readonly number: number }
  | { readonly type: 'slot'; readonly slot: number }
  /** A file that stands in the way, or could not be written. */
  | {
      readonly type: 'file';
      readonly window: number;
      readonly file: number;
      readonly errno: string;
      readonly call: string;
    }
  /** A piece that could not be written. It has arrived when the initiator says so. */
  | { readonly type: 'slot-error'; readonly slot: number; readonly errno: string }
  /** Pieces that a block does not give. It is done when the initiator says so. */
  | {
      readonly type: 'damage';
      readonly chunk: number;
      readonly window: number;
      readonly reason: string;
      readonly pieces: readonly number[];
      /** Where the block is in its chunk; absent when the block itself is whole. */
      readonly offset?: number;
    }
  | { readonly type: 'refusals'; readonly refusals: MetadataRefusals };

export default function restoreFiles(options: RestoreFilesOptions): PipeModule {
  let restoring: Restoring | undefined;
  return {
    open: (context) => {
      restoring = new Restoring(options, context);
    },
    control: (message) =>
      must(restoring, 'restoring was opened').addWindow((message as RestoreCommand).window),
    process: (buffer) => must(restoring, 'restoring was opened').process(buffer),
    close: () => must(restoring, 'restoring was opened').close(),
    abort: () => undefined,
  };
}

class Restoring {
  readonly #options: RestoreFilesOptions;
  readonly #context: ModuleContext;
  readonly #files: Files = openFiles();
  readonly #opener: BlockOpener;
  readonly #metadata: MetadataWriter;
  readonly #created: CreatedFiles;
  readonly #slots: Slots;
  readonly #windows = new Map<number, RestoreWindow>();
  readonly #entry = new EntryView();

  constructor(options: RestoreFilesOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    const keyring = fromKeyringRecord(options.keyring);
    const sealer = new Sealer(keyring, openCodec(keyring.nameKey), openRandom());
    this.#opener = new BlockOpener(sealer, context.window);
    this.#metadata = new MetadataWriter(this.#files, options.metadata);
    this.#created = new CreatedFiles(this.#files, this.#metadata);
    this.#slots = new Slots(options.slots);
  }

  addWindow(shared: SharedArrayBuffer): undefined {
    const window = new RestoreWindow(shared);
    this.#windows.set(window.number, window);
    // Of older windows at most one can still be on its way.
    this.#windows.delete(window.number - 3);
  }

  process(buffer: PipeBuffer): undefined {
    // Windows that are done have closed theirs.
    this.#created.forget();
    const window = must(
      this.#windows.get(buffer.word(FETCH_WORD.window)),
      'the window of a block was announced',
    );
    const block = buffer.word(FETCH_WORD.block);
    const bytes = buffer.word(FETCH_WORD.bytes);
    const wrong =
      bytes === 0
        ? 'it could not be read'
        : this.#opener.open(buffer.memory, buffer.headerOffset, bytes);
    const isWhole =
      wrong === undefined
        ? this.#write(window, block)
        : this.#damagedBlock(window, block, buffer.word(FETCH_WORD.chunk), wrong);
    if (isWhole && window.blockDone()) this.#post({ type: 'window', number: window.number });
  }

  /** Writes what the plan wants of the block; false when something was not in it. */
  #write(window: RestoreWindow, block: number): boolean {
    const { reader, names } = this.#opener;
    const found = new Set<number>();
    const wanted = window.pieces(block);
    let left = wanted;
    for (let blob = 0; blob < reader.count && left > 0; blob++) {
      this.#opener.name(blob);
      const at = blob * NAME_BYTES;
      const end = window.firstPiece(block) + wanted;
      for (
        let piece = window.findPiece(block, names, at);
        piece >= 0 && piece < end && window.hasName(piece, names, at);
        piece++
      ) {
        // The same blob may stand twice in a block.
        if (found.has(piece)) continue;
        if (window.pieceBytes(piece) !== reader.lengths[blob]) continue;
        found.add(piece);
        left--;
        this.#piece(window, piece, reader.offsets[blob] ?? 0, reader.lengths[blob] ?? 0);
      }
    }
    if (left === 0) return true;
    const reason =
      'a blob is not in the block that the index names, or not as long as the file says';
    const pieces = this.#piecesBut(window, block, found);
    const chunk = window.chunk(block);
    this.#post({ type: 'damage', chunk, window: window.number, reason, pieces });
    return false;
  }

  #piece(window: RestoreWindow, piece: number, at: number, length: number): void {
    const { content } = this.#opener;
    this.#context.progress(FETCH_COUNTER.bytesRestored, length);
    if (!window.isSlot(piece)) {
      const file = window.target(piece);
      if (!this.#options.dryRun) this.#file(window, file, content, at, length);
      else this.#context.progress(FETCH_COUNTER.filesRestored, 1);
      return;
    }
    const slot = window.target(piece);
    if (!this.#options.dryRun) {
      const written = this.#files.write(
        this.#slots.handle(slot),
        content,
        at,
        length,
        window.pieceOffset(piece),
      );
      // Told once: what else fails of this file makes it no worse.
      if (written < 0 && this.#slots.fail(slot)) {
        this.#post({ type: 'slot-error', slot, errno: errnoName(-written) });
        return;
      }
    }
    if (this.#slots.arrived(slot)) this.#post({ type: 'slot', slot });
  }

  #file(window: RestoreWindow, file: number, content: Buffer, at: number, length: number): void {
    const directory = window.directory(file);
    const entry = this.#entry.set(window.bytes, window.entryAt(file));
    const name: ByteString = entry.name;
    const fd = this.#created.create(directory, name, entry);
    if (fd < 0) return this.#refused(window, file, fd, 'create');
    const written = this.#files.write(fd, content, at, length, 0);
    if (written >= 0) this.#metadata.apply(fd, entry, this.#created.given);
    // Over networks, that data was lost may be told last.
    const closed = this.#files.close(fd);
    if (written >= 0 && closed >= 0) {
      this.#context.progress(FETCH_COUNTER.filesRestored, 1);
      return;
    }
    this.#files.remove(directory, name);
    this.#refused(window, file, Math.min(written, closed), 'write');
  }
  #refused(window: RestoreWindow, file: number, result: number, call: string): void {
    this.#post({ type: 'file', window: window.number, file, errno: errnoName(-result), call });
  }

  /** Hands all that the block should have given back to the initiator. Returns false. */
  #damagedBlock(window: RestoreWindow, block: number, chunk: number, reason: string): false {
    const pieces = this.#piecesBut(window, block, new Set());
    const offset = window.offset(block);
    this.#post({ type: 'damage', chunk, window: window.number, reason, pieces, offset });
    return false;
  }
  #piecesBut(window: RestoreWindow, block: number, written: ReadonlySet<number>): number[] {
    const pieces: number[] = [];
    const first = window.firstPiece(block);
    for (let piece = first; piece < first + window.pieces(block); piece++)
      if (!written.has(piece)) pieces.push(piece);
    return pieces;
  }

  #post(message: RestoreMessage): void {
    this.#context.post(message);
  }
  close(): void {
    this.#post({ type: 'refusals', refusals: this.#metadata.refusals });
  }
}
