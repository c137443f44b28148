/**
 * Plans the content of a restore's files: which blobs of which blocks go where. A blob that is not
 * in the repository, or a content list that cannot be read, costs its file and is told.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import type { ErrorCode } from '../base/errors.ts';
import { contentIsHole, contentLength } from '../format/content.ts';
import { EntryView } from '../format/entry.ts';
import { isUnreadable } from '../modules/blob-reader.ts';
import { contentOf } from './manifest-walk.ts';
import type { ArchiveReader } from './reader.ts';
import type { RestoreProblems } from './restore-problems.ts';
import type { SlotFiles } from './restore-slots.ts';
import type { RestoreTarget, TargetDirectory } from './restore-target.ts';
import type { RestoreWindows } from './restore-windows.ts';

export interface ContentPlaces {
  readonly archive: ArchiveReader;
  readonly target: RestoreTarget;
  readonly windows: RestoreWindows;
  readonly slots: SlotFiles;
  readonly problems: RestoreProblems;
  /** Directories that are open beside those of the window. */
  openDirectories(): number;
}

/** What has a path, put together only where it is asked for. */
interface Named {
  readonly path: ByteString;
}

export class ContentPlan {
  /** Files without content, which are complete as soon as they are made. */
  emptyFiles = 0;
  readonly #places: ContentPlaces;

  constructor(places: ContentPlaces) {
    this.#places = places;
  }

  /** Returns a promise only where something must be waited for. */
  file(
    parent: TargetDirectory,
    entry: EntryView,
    of: Named,
    replace: boolean,
  ): Promise<void> | undefined {
    if (!replace && entry.contentCount <= 1 && entry.contentLevels === 0) {
      if (entry.contentCount === 0) {
        if (this.#places.target.makeEmptyFile(parent, entry, of.path)) this.emptyFiles++;
        return undefined;
      }
      const at = entry.contentAt;
      if (contentLength(entry.bytes, at) === entry.size && !contentIsHole(entry.bytes, at)) {
        if (!this.#locate(entry.bytes, at + 8, of)) return undefined;
        const file = this.#places.windows.addFile(parent, entry);
        this.#addPiece(entry.bytes, at + 8, file, false, 0, entry.size);
        return undefined;
      }
    }
    const own = new EntryView().set(Buffer.from(entry.raw()), 0);
    return this.#piecewise(parent, own, of.path, replace);
  }
  /** A piece of the blob that was located last. */
  #addPiece(
    names: Buffer,
    at: number,
    target: number,
    slot: boolean,
    offset: number,
    length: number,
  ): void {
    const { chunk, blockOffset, blockBytes } = this.#places.archive.index;
    const { builder } = this.#places.windows;
    builder.addPiece(chunk, blockOffset, blockBytes, names, at, target, slot, offset, length);
  }
  #locate(names: Buffer, at: number, of: Named): boolean {
    try {
      if (this.#places.archive.index.find(names, at)) return true;
    } catch (error) {
      // A page of the index.
      if (!isUnreadable(error)) throw error;
      this.#lost(of.path, error.code, error.message);
      return false;
    }
    const name = names.toString('hex', at, at + 8);
    const { path } = of;
    const what = `the content of ${toDisplay(path)} is not in the repository`;
    const message = `${what}: no chunk holds blob ${name}`;
    this.#places.problems.add(path, 'OBJECT_MISSING', message);
    return false;
  }
  #lost(path: ByteString, code: ErrorCode, reason: string): void {
    this.#places.problems.add(path, code, `cannot restore ${toDisplay(path)}: ${reason}`);
  }

  /** A file of several pieces, or one that replaces another. */
  async #piecewise(
    parent: TargetDirectory,
    entry: EntryView,
    path: ByteString,
    replace: boolean,
  ): Promise<void> {
    const { windows, slots: files } = this.#places;
    if (files.isFull) {
      await windows.end();
      await files.whenFree();
    }
    const slot = files.open(parent, entry, path, replace);
    if (slot === undefined) return;
    const { slots } = files;
    try {
      await this.#pieces(slot, entry, path);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (slots.fail(slot)) this.#lost(path, error.code, error.message);
    }
    if (slots.arrived(slot)) files.finish(slot);
  }
  async #pieces(slot: number, entry: EntryView, path: ByteString): Promise<void> {
    const { windows, slots: files, archive } = this.#places;
    const { slots } = files;
    for (const piece of contentOf(archive.blobs, entry)) {
      const end = piece.offset + piece.length;
      if (end > entry.size) {
        const reason = 'its content is longer than the file';
        if (slots.fail(slot)) this.#lost(path, 'DAMAGED', reason);
        return;
      }
      if (piece.name === undefined) continue;
      if (!this.#locate(piece.name, 0, { path })) {
        slots.fail(slot);
        return;
      }
      slots.expect(slot, 1);
      this.#addPiece(piece.name, 0, slot, true, piece.offset, piece.length);
      if (windows.isFull(this.#places.openDirectories())) await windows.end();
      // Found damaged meanwhile.
      if (slots.failed(slot)) return;
    }
  }
}
