/**
 * The second try of a restore: what a damaged block does not give is looked for in the other places
 * that the index knows, piece by piece. What has no other place, or none that is whole, is told,
 * once a file.
 *
 * All pieces of a block are settled here before the block counts as done: so links to these files
 * and the metadata of their directories come after them, as after all others.
 */
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { NAME_BYTES } from '../format/block.ts';
import { EntryView } from '../format/entry.ts';
import type { Files } from '../host/mod.ts';
import { isUnreadable } from '../modules/blob-reader.ts';
import type { MetadataWriter } from '../modules/file-metadata.ts';
import type { RestoreMessage } from '../modules/restore-files.ts';
import type { RestoreWindow } from '../modules/restore-window.ts';
import type { ArchiveReader } from './reader.ts';
import type { RestoreProblems } from './restore-problems.ts';
import type { SlotFiles } from './restore-slots.ts';
import type { TargetDirectory } from './restore-target.ts';
import type { RestoreWindows } from './restore-windows.ts';

type DamageMessage = Extract<RestoreMessage, { type: 'damage' }>;

export interface RetryPlaces {
  readonly archive: ArchiveReader;
  readonly files: Files;
  readonly metadata: MetadataWriter;
  readonly problems: RestoreProblems;
  readonly windows: RestoreWindows;
  readonly slots: SlotFiles;
  readonly dryRun: boolean;
  /** Why chunks could not be read, by id. */
  readonly unreadable: ReadonlyMap<string, string>;
}

export class RestoreRetry {
  /** Files of one blob that were restored after all, and bytes of all pieces that were. */
  filesRestored = 0;
  bytesRestored = 0;
  readonly #places: RetryPlaces;
  readonly #view = new EntryView();

  constructor(places: RetryPlaces) {
    this.#places = places;
  }

  /** Settles the pieces that a block did not give; the block is done then. */
  block(message: DamageMessage): void {
    const { windows, slots, archive, unreadable } = this.#places;
    const { window, parents } = windows.outstanding(message.window);
    const chunk = archive.chunkIds[message.chunk] ?? '?';
    if (message.offset !== undefined) archive.foundDamaged(chunk, message.offset);
    const reason = unreadable.get(chunk) ?? `chunk ${chunk} is damaged: ${message.reason}`;
    for (const piece of message.pieces) {
      const target = window.target(piece);
      if (!window.isSlot(piece))
        this.#file(window, piece, must(parents[target], 'a directory'), reason);
      else {
        this.#slotPiece(window, piece, target, reason);
        if (slots.slots.arrived(target)) slots.finish(target);
      }
    }
    if (window.blockDone()) windows.isDone(message.window);
  }

  /** A file that is one piece. */
  #file(window: RestoreWindow, piece: number, parent: TargetDirectory, reason: string): void {
    const { files, metadata, problems, dryRun } = this.#places;
    const entry = this.#view.set(window.bytes, window.entryAt(window.target(piece)));
    const { name } = entry;
    const path = parent.path === '' ? name : `${parent.path}/${name}`;
    const content = this.#read(window, piece);
    if (content === undefined) return this.#lost(path, reason);
    if (!dryRun) {
      const fd = files.createExclusive(parent.fd, name, 0o600);
      if (fd < 0) return problems.failed(path, fd, 'create');
      const written = files.write(fd, content, 0, content.length, 0);
      if (written >= 0) metadata.apply(fd, entry);
      const closed = files.close(fd);
      if (written < 0 || closed < 0) {
        files.remove(parent.fd, name);
        return problems.failed(path, Math.min(written, closed), 'write');
      }
    }
    this.filesRestored++;
    this.bytesRestored += content.length;
  }

  /** A piece of a file of several. */
  #slotPiece(window: RestoreWindow, piece: number, slot: number, reason: string): void {
    const { files, problems, slots, dryRun } = this.#places;
    // Then it is lost anyway, and that was told.
    if (slots.slots.failed(slot)) return;
    const path = slots.pathOf(slot);
    const content = this.#read(window, piece);
    if (content === undefined) {
      if (slots.slots.fail(slot)) this.#lost(path, reason);
      return;
    }
    if (!dryRun) {
      const offset = window.pieceOffset(piece);
      const written = files.write(slots.slots.handle(slot), content, 0, content.length, offset);
      if (written < 0) {
        if (slots.slots.fail(slot)) problems.failed(path, written, 'write');
        return;
      }
    }
    this.bytesRestored += content.length;
  }

  /** The blob of a piece from another place, valid until the next one; undefined: there is none. */
  #read(window: RestoreWindow, piece: number): Buffer | undefined {
    const { index, blobs } = this.#places.archive;
    const at = window.nameAt(piece);
    try {
      if (!index.find(window.bytes, at, 1)) return undefined;
      const content = blobs.read(window.bytes.subarray(at, at + NAME_BYTES));
      return content.length === window.pieceBytes(piece) ? content : undefined;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return undefined;
    }
  }
  #lost(path: ByteString, reason: string): void {
    this.#places.problems.add(path, 'DAMAGED', `cannot restore ${toDisplay(path)}: ${reason}`);
  }
}
