/**
 * What the stages of a copy that write have in common: directories of the target, metadata of what is
 * made in them, and telling what could not be.
 */
import type { ByteString } from '../base/bytes.ts';
import { type ErrorCode, PenstockError, toErrorRecord } from '../base/errors.ts';
import { type EntryView, EXTRA, readAttribute } from '../format/entry.ts';
import { type Attribute, type Files, ioError } from '../host/files-only.ts';
import type { ModuleContext } from '../pipe/mod.ts';
import { CopyDirectories } from './copy-directories.ts';
import { type CopyRoot, openCopyRoot, rootPath } from './copy-root.ts';
import { COPY, type CopyReader } from './copy-stream.ts';
import { type MetadataRefusals, MetadataWriter } from './file-metadata.ts';
import { isCopied } from './source-attributes.ts';
import { postProblem } from './source-problems.ts';
import { childPath } from './source-tree.ts';

export interface CopyTargetOptions {
  readonly root: CopyRoot;
  /** At the end all is put on the disk. */
  readonly syncs: boolean;
  /** Whether owners are set. */
  readonly owners: boolean;
  /** 16 hexadecimal digits, those of one copy. */
  readonly token: string;
}

/** What an instance posts when it is done. */
export interface CopyRefusals {
  readonly type: 'refusals';
  readonly refusals: MetadataRefusals;
}

/** Errors that all other items would have as well. */
const FOR_ALL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EROFS']);

export class CopyTarget {
  readonly directories: CopyDirectories;
  readonly metadata: MetadataWriter;
  readonly path: ByteString;
  readonly #context: ModuleContext;
  readonly #files: Files;
  readonly #options: CopyTargetOptions;

  /** HOST_IO where the root cannot be opened or made. */
  constructor(options: CopyTargetOptions, files: Files, context: ModuleContext) {
    this.#options = options;
    this.#files = files;
    this.#context = context;
    files.openFilesLimit();
    this.path = rootPath(options.root);
    this.metadata = new MetadataWriter(files, { owners: options.owners, users: [], groups: [] });
    this.directories = this.openDirectories(true);
  }
  /** A set of handles of its own. */
  openDirectories(makes: boolean): CopyDirectories {
    const root = openCopyRoot(this.#files, this.#options.root, true);
    if (root < 0) throw ioError(root, 'open', this.path);
    return new CopyDirectories(this.#files, root, makes);
  }

  /** Takes a record that tells an owner's name; false when it is another one. */
  takesOwner(record: CopyReader): boolean {
    if (record.kind === COPY.user) this.metadata.mapUser(record.number, record.ownerName);
    else if (record.kind === COPY.group) this.metadata.mapGroup(record.number, record.ownerName);
    else return false;
    return true;
  }

  /**
   * Tells of an item that could not be written; `result` is a negative error number.
   *
   * @throws HOST_IO where none can be: the file system is full, or may not be written to
   */
  failed(path: ByteString, name: ByteString, result: number, call: string): void {
    const absolute = this.absolute(path, name);
    const error = ioError(result, call, absolute);
    const { message, errno } = error;
    if (errno !== undefined && FOR_ALL.has(errno)) throw error;
    this.tell(absolute, 'COPY_PARTIAL', message, errno);
  }
  /** The same in words. */
  tell(absolute: ByteString, code: ErrorCode, message: string, errno?: string): void {
    const details = { subject: absolute, ...(errno === undefined ? {} : { errno }) };
    const error = new PenstockError(code, message, details);
    postProblem(this.#context, absolute, toErrorRecord(error), true);
  }
  absolute(path: ByteString, name: ByteString): ByteString {
    const directory = path === '' ? this.path : childPath(this.path, path);
    return name === '' ? directory : childPath(directory, name);
  }

  /** Takes attributes away that the entry does not have. */
  removeExtras(
    entry: EntryView,
    there: readonly Attribute[] | number,
    remove: (attribute: ByteString) => number,
  ): void {
    if (typeof there === 'number' || there.length === 0) return;
    const wanted = new Set<ByteString>();
    entry.eachExtra((type, value) => {
      const name = type === EXTRA.attribute ? readAttribute(value)?.name : undefined;
      if (name !== undefined) wanted.add(name);
    });
    for (const { name } of there) {
      if (wanted.has(name) || !isCopied(name)) continue;
      const removed = remove(name);
      if (removed < 0) this.metadata.refused('attribute', removed, entry.name);
    }
  }

  close(): void {
    const told: CopyRefusals = { type: 'refusals', refusals: this.metadata.refusals };
    this.#context.post(told);
    this.abort();
  }
  abort(): void {
    this.directories.close();
  }
}
