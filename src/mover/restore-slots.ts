/**
 * Files that are written piece by piece, or that replace others: under a temporary name until the last
 * piece has come, then given their metadata and renamed (modules/restore-window.ts, Slots).
 *
 * What must come after such a file waits with it: further links to it, and the metadata of directories
 * in which it, or a link to it, lies.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { EntryView } from '../format/entry.ts';
import { ERRNO, FileStatus, type Files } from '../host/mod.ts';
import type { MetadataWriter } from '../modules/file-metadata.ts';
import { Slots } from '../modules/restore-window.ts';
import type { RestoreProblems } from './restore-problems.ts';
import type { TargetDirectory } from './restore-target.ts';

/** A further name of a file. */
export interface FurtherLink {
  readonly parent: TargetDirectory;
  readonly name: ByteString;
  readonly path: ByteString;
  /** Path of the first. */
  readonly to: ByteString;
  readonly replace: boolean;
}

interface SlotFile {
  readonly fd: number;
  readonly parent: TargetDirectory;
  readonly temporary: ByteString;
  readonly entry: Buffer;
  readonly path: ByteString;
  readonly replace: boolean;
  readonly links: FurtherLink[];
}

export interface SlotEvents {
  /** A file could not be restored: what stands at its path, if anything, is another one. */
  lost(path: ByteString): void;
  link(link: FurtherLink): void;
  leave(directory: TargetDirectory): void;
}

export class SlotFiles {
  readonly slots: Slots;
  /** Files that are complete. */
  complete = 0;
  readonly #files: Files;
  readonly #metadata: MetadataWriter;
  readonly #problems: RestoreProblems;
  readonly #dryRun: boolean;
  readonly #events: SlotEvents;
  readonly #free: number[];
  readonly #used = new Map<number, SlotFile>();
  readonly #held = new Set<TargetDirectory>();
  readonly #view = new EntryView();
  readonly #status = new FileStatus();
  #names = 0;
  #freed: (() => void) | undefined;

  constructor(
    share: SharedArrayBuffer,
    files: Files,
    metadata: MetadataWriter,
    problems: RestoreProblems,
    options: { readonly dryRun: boolean; readonly filesMax: number },
    events: SlotEvents,
  ) {
    this.slots = new Slots(share);
    this.#files = files;
    this.#metadata = metadata;
    this.#problems = problems;
    this.#dryRun = options.dryRun;
    this.#free = Array.from({ length: options.filesMax }, (_, i) => i);
    this.#events = events;
  }

  get isFull(): boolean {
    return this.#free.length === 0;
  }
  /** Resolves once a slot is free. */
  async whenFree(): Promise<void> {
    while (this.isFull) {
      await new Promise<void>((resolve) => {
        this.#freed = resolve;
      });
    }
  }
  pathOf(slot: number): ByteString {
    return this.#used.get(slot)?.path ?? '';
  }

  /** Begins a file; undefined when it cannot be made (that is told). The slot expects one arrival. */
  open(
    parent: TargetDirectory,
    entry: EntryView,
    path: ByteString,
    replace: boolean,
  ): number | undefined {
    const temporary = `.penstock.${process.pid}.${this.#names++}`;
    let fd = -1;
    if (!this.#dryRun) {
      fd = this.#files.createExclusive(parent.fd, temporary, 0o600);
      if (fd < 0) {
        this.#problems.failed(path, fd, 'create');
        return undefined;
      }
      const sized = this.#files.truncate(fd, entry.size);
      if (sized < 0) {
        this.#problems.failed(path, sized, 'set the size of');
        this.#files.close(fd);
        this.#files.remove(parent.fd, temporary);
        return undefined;
      }
    }
    const slot = must(this.#free.pop(), 'a free slot');
    this.slots.open(slot, fd);
    const raw = Buffer.from(entry.raw());
    this.#used.set(slot, { fd, parent, temporary, entry: raw, path, replace, links: [] });
    return slot;
  }

  /** The last piece of a file has come, and no more are planned. */
  finish(slot: number): void {
    const file = must(this.#used.get(slot), 'a slot in use');
    this.#used.delete(slot);
    const failed = this.slots.failed(slot);
    const isThere = this.#dryRun ? !failed : this.#settle(file, failed);
    if (isThere) this.complete++;
    else this.#events.lost(file.path);
    for (const link of file.links) this.#events.link(link);
    for (const directory of this.#held) {
      if (this.#isBusy(directory)) continue;
      this.#held.delete(directory);
      this.#events.leave(directory);
    }
    this.#free.push(slot);
    this.#freed?.();
    this.#freed = undefined;
  }
  #settle(file: SlotFile, failed: boolean): boolean {
    if (failed) {
      this.#drop(file);
      return false;
    }
    const entry = this.#view.set(file.entry, 0);
    this.#metadata.apply(file.fd, entry);
    const { fd } = file.parent;
    // Over networks, that data was lost may be told last.
    const closed = this.#files.close(file.fd);
    if (closed < 0) {
      this.#files.remove(fd, file.temporary);
      this.#problems.failed(file.path, closed, 'write');
      return false;
    }
    const moved = file.replace
      ? this.#files.rename(fd, file.temporary, fd, entry.name)
      : this.#moveExclusive(fd, file.temporary, entry.name);
    if (moved >= 0) return true;
    this.#files.remove(fd, file.temporary);
    this.#problems.failed(file.path, moved, 'rename the restored file to');
    return false;
  }

  /** Not every file system, above all over networks, can do it in one step. */
  #moveExclusive(directory: number, from: ByteString, to: ByteString): number {
    const moved = this.#files.renameExclusive(directory, from, directory, to);
    if (moved !== -ERRNO.EINVAL && moved !== -ERRNO.ENOSYS) return moved;
    const linked = this.#files.link(directory, from, directory, to);
    if (linked >= 0) return this.#files.remove(directory, from);
    if (linked === -ERRNO.EEXIST) return linked;
    // No hard links either: looking first must do.
    const there = this.#files.status(directory, to, this.#status);
    return there >= 0 ? -ERRNO.EEXIST : this.#files.rename(directory, from, directory, to);
  }

  /** Whether the link must wait for its file; it is then made by `finish`. */
  takesLink(link: FurtherLink): boolean {
    for (const file of this.#used.values()) {
      if (file.path !== link.to) continue;
      file.links.push(link);
      return true;
    }
    return false;
  }
  /** Whether the directory must wait for a file in it; it is then left by `finish`. */
  holds(directory: TargetDirectory): boolean {
    if (!this.#isBusy(directory)) return false;
    this.#held.add(directory);
    return true;
  }
  #isBusy(directory: TargetDirectory): boolean {
    for (const file of this.#used.values()) {
      if (file.parent === directory || file.links.some((link) => link.parent === directory))
        return true;
    }
    return false;
  }

  /** Leaves no temporary name behind. */
  dropAll(): void {
    for (const file of this.#used.values()) if (file.fd >= 0) this.#drop(file);
    this.#used.clear();
  }
  #drop(file: SlotFile): void {
    this.#files.close(file.fd);
    this.#files.remove(file.parent.fd, file.temporary);
  }
}
