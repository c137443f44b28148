/**
 * Stage `scan` (M1, U8): the head of a backup. Walks the sources depth first with sorted names, chooses
 * what the backup takes, and tells the walk each entry with its status, some thousand entries ahead.
 *
 * Links are never followed below a source; directories are opened without following links and used by
 * handle, so that paths of any length work and nobody can move the scan elsewhere.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { toErrorRecord } from '../base/errors.ts';
import {
  CWD,
  ERRNO,
  FileStatus,
  type Files,
  ioError,
  KIND,
  newListing,
  openFiles,
} from '../host/files-only.ts';
import type { ModuleContext, PipeModule } from '../pipe/mod.ts';
import { placeOfLog, readPart } from './copy-parts.ts';
import { type CopyRoot, openCopyRoot, rootPath } from './copy-root.ts';
import { SCAN, SCAN_FLAG, SCAN_ROOT, type ScanTarget, ScanWriter } from './scan-stream.ts';
import {
  type IgnoreRules,
  readIgnoreFiles,
  Selection,
  type SelectionOptions,
} from './selection.ts';
import { attributesDigest } from './source-attributes.ts';
import { beyondLimits, postFailure, postProblem, tooDeep } from './source-problems.ts';
import { childPath, type SourceNode } from './source-tree.ts';

export interface ScanOptions {
  readonly sources: SourceNode;
  readonly selection: SelectionOptions;
  /** Where the sources begin; default the root of all. */
  readonly root?: CopyRoot;
  /** A root that is not there is one without entries. */
  readonly mayBeMissing?: boolean;
  /** For a copy: tells the root too, and nothing of what a backup has of its own. */
  readonly tellsRoot?: boolean;
  /** Tells a digest of each entry's attributes, to be compared with others. */
  readonly compares?: boolean;
  /** Tells the parts of large files that an interrupted copy has left (copy-parts.ts). */
  readonly findsParts?: boolean;
  /** Tells what owners are called. */
  readonly tellsOwners?: boolean;
}

interface Frame {
  readonly fd: number;
  readonly depth: number;
  /** Absolute path, for messages and patterns. */
  readonly path: ByteString;
  readonly names: readonly ByteString[];
  next: number;
  readonly node: SourceNode;
  readonly ignores: IgnoreRules | undefined;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

export default function scan(options: ScanOptions): PipeModule {
  let scanner: Scanner | undefined;
  return {
    open: (context) => {
      scanner = new Scanner(options, context);
    },
    run: () => must(scanner, 'the scan was opened').run(),
    abort: () => scanner?.abort(),
  };
}

export class Scanner {
  readonly #options: ScanOptions;
  readonly #context: ModuleContext;
  readonly #files: Files = openFiles();
  readonly #selection: Selection;
  readonly #out: ScanWriter;
  readonly #status = new FileStatus();
  readonly #listing = newListing();
  readonly #stack: Frame[] = [];
  readonly #compares: boolean;
  /** Owners that were told. */
  readonly #users = new Set<number>();
  readonly #groups = new Set<number>();
  #digest = 0;

  /** `target`: where the records go, where not to the next stage. */
  constructor(options: ScanOptions, context: ModuleContext, target: ScanTarget = context) {
    this.#options = options;
    this.#context = context;
    this.#selection = new Selection(options.selection);
    this.#out = new ScanWriter(target);
    this.#compares = options.compares === true;
    this.#files.openFilesLimit();
  }

  run(): void {
    this.begin();
    while (this.step());
  }

  /** Opens the root. */
  begin(): void {
    const { root, mayBeMissing, sources } = this.#options;
    const fd =
      root === undefined
        ? this.#files.openDirectory(CWD, '/')
        : openCopyRoot(this.#files, root, false);
    const path = root === undefined ? '/' : rootPath(root);
    if (fd === -ERRNO.ENOENT && mayBeMissing === true) return;
    if (fd < 0) throw ioError(fd, 'open', path);
    this.#files.statusOf(fd, this.#status);
    if (this.#options.tellsRoot === true && sources.children === undefined) {
      if (this.#compares) this.#digest = attributesDigest(this.#files.attributesOf(fd));
      this.#tell(SCAN_ROOT, 0);
    }
    this.#enter(fd, path, 0, sources, undefined);
  }

  /** Looks at one item; false when there are no more, and all records were sent. */
  step(): boolean {
    const frame = this.#stack.at(-1);
    if (frame === undefined) {
      this.#out.flush();
      return false;
    }
    const name = frame.names[frame.next++];
    if (name !== undefined) this.#visit(frame, name);
    else {
      this.#stack.pop();
      this.#files.close(frame.fd);
      if (this.#stack.length > 0) this.#out.leave();
    }
    return true;
  }

  abort(): void {
    for (const { fd } of this.#stack.splice(0)) this.#files.close(fd);
  }

  #visit(frame: Frame, name: ByteString): void {
    const node = frame.node.children?.get(name) ?? frame.node;
    const path = childPath(frame.path, name);
    const result = this.#files.status(frame.fd, name, this.#status);
    if (result < 0) return postFailure(this.#context, path, result, 'look at');
    const { kind } = this.#status;
    if (this.#compares) this.#digest = attributesDigest(this.#files.attributes(frame.fd, name));
    if (frame.node.children === undefined && this.#isExcluded(frame, path, name, kind)) return;
    const refused = beyondLimits(this.#status, name, path);
    if (refused !== undefined) postProblem(this.#context, path, toErrorRecord(refused), true);
    else if (kind === KIND.directory) this.#directory(frame, name, path, node);
    else this.#tell(name, 0);
  }

  #tell(name: ByteString, flags: number): void {
    if (this.#options.tellsOwners === true) this.#tellOwners(this.#status);
    this.#out.entry(this.#status, name, flags, this.#digest);
  }

  #tellOwners({ uid, gid }: FileStatus): void {
    if (!this.#users.has(uid)) {
      this.#users.add(uid);
      this.#out.owner(SCAN.user, uid, this.#files.userName(uid) ?? '');
    }
    if (this.#groups.has(gid)) return;
    this.#groups.add(gid);
    this.#out.owner(SCAN.group, gid, this.#files.groupName(gid) ?? '');
  }

  #isExcluded(frame: Frame, path: ByteString, name: ByteString, kind: number): boolean {
    const selection = this.#selection;
    if (
      selection.usesPaths &&
      selection.excludes(path, name, kind === KIND.directory, frame.ignores)
    )
      return true;
    if (kind !== KIND.file) return false;
    const mtimeMs = this.#status.mtimeSeconds * 1000 + this.#status.mtimeNanos / 1e6;
    return selection.excludesFile(this.#status.size, mtimeMs);
  }

  #directory(frame: Frame, name: ByteString, path: ByteString, node: SourceNode): void {
    const onTheWay = node.children === undefined ? 0 : SCAN_FLAG.onTheWay;
    if (!this.#isToEnter(frame, path)) return this.#tell(name, onTheWay);
    let fd = this.#files.openDirectory(frame.fd, name);
    if (fd === -ERRNO.EACCES && onTheWay !== 0) fd = this.#files.openThrough(frame.fd, name);
    // The walk will tell why.
    if (fd < 0) return this.#tell(name, onTheWay | SCAN_FLAG.notOpened);
    this.#tell(name, onTheWay | SCAN_FLAG.entered);
    this.#enter(fd, path, frame.depth + 1, node, frame.ignores);
  }
  #isToEnter(frame: Frame, path: ByteString): boolean {
    const { deviceMajor, deviceMinor } = this.#status;
    const otherDevice = deviceMajor !== frame.deviceMajor || deviceMinor !== frame.deviceMinor;
    const inside = frame.node.children === undefined;
    if (inside && otherDevice && this.#options.selection.oneFileSystem) return false;
    const refused = tooDeep(path, frame.depth + 1);
    if (refused !== undefined) postProblem(this.#context, path, toErrorRecord(refused), true);
    return refused === undefined;
  }

  /** Opens a frame for a directory whose status was just taken. Owns `fd`. */
  #enter(
    fd: number,
    path: ByteString,
    depth: number,
    node: SourceNode,
    outer: IgnoreRules | undefined,
  ): void {
    const { deviceMajor, deviceMinor } = this.#status;
    const names = node.children === undefined ? this.#list(fd, path) : [...node.children.keys()];
    names.sort();
    if (this.#options.findsParts === true) this.#tellParts(fd, path, names, node);
    const wanted = this.#options.selection.ignoreFiles.filter((name) => names.includes(name));
    const failed = (at: ByteString, result: number, call: string): void =>
      postFailure(this.#context, at, result, call);
    const ignores = readIgnoreFiles(this.#files, fd, path, wanted, outer, failed);
    this.#stack.push({
      fd,
      depth,
      path,
      names,
      next: 0,
      node,
      ignores,
      deviceMajor,
      deviceMinor,
    });
  }
  /** Of single items, only those. */
  #tellParts(fd: number, path: ByteString, names: readonly ByteString[], node: SourceNode): void {
    const all = node.children === undefined ? names : this.#list(fd, path);
    for (const name of all) {
      const place = placeOfLog(name);
      if (place === undefined) continue;
      const part = readPart(this.#files, fd, place, () => this.#context.notice());
      if (part !== undefined && node.children?.has(part.entry.name) !== false) this.#out.part(part);
    }
  }
  #list(fd: number, path: ByteString): ByteString[] {
    const result = this.#files.list(fd, this.#listing);
    if (result >= 0) return this.#listing.names.slice();
    postFailure(this.#context, path, result, 'list');
    return [];
  }
}
