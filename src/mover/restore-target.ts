/**
 * The target of a restore: directories as handles, and everything that is made without reading data.
 *
 * Nothing is written through a link, and no path is ever put together: each step goes from a handle to
 * a name in it, so that a restore stays below its target whatever a manifest holds or somebody else
 * does there meanwhile.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { ENTRY, type EntryView, EXTRA } from '../format/entry.ts';
import { CWD, ERRNO, errnoName, FileStatus, type Files, ioError, KIND } from '../host/mod.ts';
import type { MetadataWriter } from '../modules/file-metadata.ts';
import type { WalkedEntry } from './manifest-walk.ts';
import type { RestoreProblems } from './restore-problems.ts';

export type Overwrite = 'never' | 'always' | 'newer';

/** A directory of the target. */
export interface TargetDirectory {
  readonly name: ByteString;
  /** As it stands in the archive. */
  readonly path: ByteString;
  /** Handle; -1 in a dry run. */
  readonly fd: number;
  /** Its entry; empty for the target itself, and where it is lost. */
  readonly entry: Buffer;
  /** It was not there before: nothing can stand in it. */
  readonly created: boolean;
  /** It was asked for; else it only leads to what was. */
  readonly wanted: boolean;
}

export interface TargetOptions {
  readonly path: ByteString;
  readonly overwrite: Overwrite;
  readonly dryRun: boolean;
}

export class RestoreTarget {
  skipped = 0;
  readonly #options: TargetOptions;
  readonly #files: Files;
  readonly #metadata: MetadataWriter;
  readonly #problems: RestoreProblems;
  readonly #status = new FileStatus();
  #root = -1;
  #replaced = 0;

  constructor(
    options: TargetOptions,
    files: Files,
    metadata: MetadataWriter,
    problems: RestoreProblems,
  ) {
    this.#options = options;
    this.#files = files;
    this.#metadata = metadata;
    this.#problems = problems;
  }

  /** Makes the target where it is not there, and opens it. HOST_IO. */
  open(): void {
    const { path, dryRun } = this.#options;
    if (dryRun) return;
    for (let end = path.indexOf('/', 1); ; end = path.indexOf('/', end + 1)) {
      const part = end < 0 ? path : path.slice(0, end);
      const made = this.#files.makeDirectory(CWD, part, 0o777);
      if (made < 0 && errnoName(-made) !== 'EEXIST') throw ioError(made, 'create', part);
      if (end < 0) break;
    }
    this.#root = this.#files.openDirectoryFollow(CWD, path);
    if (this.#root < 0) throw ioError(this.#root, 'open', path);
  }
  close(): void {
    if (this.#root >= 0) this.#files.close(this.#root);
    this.#root = -1;
  }
  /** The target itself; it may hold anything, so what stands in it is looked at. */
  get root(): TargetDirectory {
    return {
      name: '',
      path: '',
      fd: this.#root,
      entry: Buffer.alloc(0),
      created: false,
      wanted: false,
    };
  }

  /** Makes or enters a directory; undefined when it cannot be (that is told). */
  enter(parent: TargetDirectory, walked: WalkedEntry): TargetDirectory | undefined {
    const { entry, path, wanted } = walked;
    return this.#enter(parent, entry.name, path, Buffer.from(entry.raw()), wanted);
  }
  /**
   * The same where the directory's own entry is lost. What is made for it is open to its owner
   * alone: nobody knows who might look into it.
   */
  enterLost(
    parent: TargetDirectory,
    name: ByteString,
    path: ByteString,
  ): TargetDirectory | undefined {
    return this.#enter(parent, name, path, Buffer.alloc(0), false);
  }
  #enter(
    parent: TargetDirectory,
    name: ByteString,
    path: ByteString,
    raw: Buffer,
    wanted: boolean,
  ): TargetDirectory | undefined {
    if (this.#options.dryRun) return { name, path, fd: -1, entry: raw, created: true, wanted };
    const made = this.#files.makeDirectory(parent.fd, name, 0o700);
    if (made < 0 && errnoName(-made) !== 'EEXIST') {
      this.#problems.failed(path, made, 'create');
      return undefined;
    }
    let fd = this.#files.openDirectory(parent.fd, name);
    if (fd === -ERRNO.EACCES && !wanted) fd = this.#files.openThrough(parent.fd, name);
    if (fd < 0 && fd !== -ERRNO.ENOTDIR && fd !== -ERRNO.ELOOP) {
      this.#problems.failed(path, fd, 'open');
      return undefined;
    }
    if (fd < 0) {
      const message = `cannot restore into ${toDisplay(path)}: something that is no directory stands there`;
      this.#problems.add(path, 'TARGET_EXISTS', message);
      return undefined;
    }
    return { name, path, fd, entry: raw, created: made >= 0, wanted };
  }

  /** Gives a directory its metadata, once all that lies in it is there, and lets it go. */
  leave(directory: TargetDirectory, view: EntryView): void {
    if (directory.fd < 0) return;
    const isKnown = directory.entry.length > 0;
    if (
      isKnown &&
      (directory.created || (directory.wanted && this.#options.overwrite !== 'never'))
    ) {
      this.#metadata.apply(directory.fd, view.set(directory.entry, 0));
    }
    this.#files.close(directory.fd);
  }

  /** Whether something that is no directory may be put at this place; removes nothing yet. */
  mayPut(
    parent: TargetDirectory,
    entry: EntryView,
    of: { readonly path: ByteString },
  ): 'create' | 'replace' | 'skip' {
    if (this.#options.dryRun || parent.created) return 'create';
    const status = this.#status;
    if (this.#files.status(parent.fd, entry.name, status) < 0) return 'create';
    if (status.kind === KIND.directory) {
      const { path } = of;
      this.#problems.add(
        path,
        'TARGET_EXISTS',
        `cannot restore ${toDisplay(path)}: a directory stands there`,
      );
      return 'skip';
    }
    const { overwrite } = this.#options;
    const isNewer =
      status.mtimeSeconds < entry.mtimeSeconds ||
      (status.mtimeSeconds === entry.mtimeSeconds && status.mtimeNanos < entry.mtimeNanos);
    if (overwrite === 'always' || (overwrite === 'newer' && isNewer)) return 'replace';
    this.skipped++;
    return 'skip';
  }

  /** Whether what mayPut has just found looks like the file that was stored. */
  foundAlike(entry: EntryView): boolean {
    const status = this.#status;
    return (
      entry.kind === ENTRY.file &&
      status.kind === KIND.file &&
      status.size === entry.size &&
      status.mtimeSeconds === entry.mtimeSeconds &&
      status.mtimeNanos === entry.mtimeNanos
    );
  }

  /** Makes a symbolic link, a FIFO, a socket or a device; true when it is there. */
  makeSpecial(
    parent: TargetDirectory,
    entry: EntryView,
    path: ByteString,
    replace: boolean,
  ): boolean {
    if (this.#options.dryRun) return true;
    const { name, kind } = entry;
    const result = this.#put(parent.fd, name, replace, (place) =>
      this.#make(parent.fd, place, entry),
    );
    if (result >= 0) {
      this.#metadata.applyAt(parent.fd, entry);
      return true;
    }
    const isDevice = kind === ENTRY.characterDevice || kind === ENTRY.blockDevice;
    if (isDevice && errnoName(-result) === 'EPERM') this.#metadata.refused('device', result, path);
    else {
      const call = kind === ENTRY.symlink ? 'make the link' : 'make the node';
      this.#problems.failed(path, result, call);
    }
    return false;
  }
  /** Makes something; where it replaces, under another name first: what stands there goes last. */
  #put(
    directory: number,
    name: ByteString,
    replace: boolean,
    make: (place: ByteString) => number,
  ): number {
    if (!replace) return make(name);
    const temporary = `.penstock.${process.pid}.r${this.#replaced++}`;
    const made = make(temporary);
    const moved = made < 0 ? made : this.#files.rename(directory, temporary, directory, name);
    // Also when it moved: a link beside its like stays where it is.
    if (made >= 0) this.#files.remove(directory, temporary);
    return moved;
  }
  #make(directory: number, name: ByteString, entry: EntryView): number {
    if (entry.kind === ENTRY.symlink) {
      const target = entry.extra(EXTRA.linkTarget)?.toString('latin1') ?? '';
      return this.#files.symlink(target, directory, name);
    }
    const node = entry.extra(EXTRA.node);
    const mode = (NODE_MODES[entry.kind] ?? 0) | 0o600;
    return this.#files.makeNode(
      directory,
      name,
      mode,
      node?.readUInt32LE(0) ?? 0,
      node?.readUInt32LE(4) ?? 0,
    );
  }

  /** Makes a file without content; true when it is there. */
  makeEmptyFile(parent: TargetDirectory, entry: EntryView, path: ByteString): boolean {
    if (this.#options.dryRun) return true;
    const fd = this.#files.createExclusive(parent.fd, entry.name, 0o600);
    if (fd < 0) {
      this.#problems.failed(path, fd, 'create');
      return false;
    }
    const sized = entry.size > 0 ? this.#files.truncate(fd, entry.size) : 0;
    if (sized < 0) this.#problems.failed(path, sized, 'set the size of');
    this.#metadata.apply(fd, entry);
    this.#files.close(fd);
    return sized >= 0;
  }

  /** Gives the entry at the path `to` a further name; true when it is there. */
  makeHardLink(
    directory: number,
    name: ByteString,
    path: ByteString,
    to: ByteString,
    replace: boolean,
  ): boolean {
    if (this.#options.dryRun) return true;
    const parts = to.split('/');
    const last = parts.pop() ?? '';
    const parent = this.#descend(parts);
    const result =
      parent < 0
        ? parent
        : this.#put(directory, name, replace, (place) =>
            this.#files.link(parent, last, directory, place),
          );
    if (parent >= 0 && parent !== this.#root) this.#files.close(parent);
    if (result >= 0) return true;
    this.#problems.unlinked(path, to);
    return false;
  }
  /** Opens a directory below the target, step by step, no link followed. */
  #descend(parts: readonly ByteString[]): number {
    let fd = this.#root;
    for (const part of parts) {
      const isSafe = part !== '' && part !== '.' && part !== '..';
      const next = isSafe ? this.#files.openDirectory(fd, part) : -1;
      if (fd !== this.#root) this.#files.close(fd);
      if (next < 0) return next;
      fd = next;
    }
    return fd;
  }
}

const NODE_MODES: Readonly<Record<number, number>> = {
  [ENTRY.fifo]: 0o010000,
  [ENTRY.socket]: 0o140000,
  [ENTRY.characterDevice]: 0o020000,
  [ENTRY.blockDevice]: 0o060000,
};
