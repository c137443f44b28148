/**
 * What the system says of a file, as the fields of its entry (format/entry.ts), and the names of the
 * owners that were met.
 */
import { ENTRY, ENTRY_FLAG, type EntryFields } from '../format/entry.ts';
import { type FileStatus, type Files, KIND } from '../host/files-only.ts';

/** Times younger than this at the reading may hide a later change. */
const RECENT_MS = 2000;

export class StatusEntry {
  readonly fields: EntryFields = emptyFields();
  readonly owners: Map<number, string> = new Map();
  readonly groups: Map<number, string> = new Map();
  readonly #files: Files;
  readonly #startedMs: number;

  /** `startedMs`: when the backup began; nothing was read before. */
  constructor(files: Files, startedMs: number) {
    this.#files = files;
    this.#startedMs = startedMs;
  }

  /** Takes a status into the fields. */
  take(status: FileStatus, depth: number): void {
    const { fields } = this;
    fields.kind = ENTRY_OF_KIND[status.kind] ?? ENTRY.file;
    fields.mode = status.mode;
    fields.depth = depth;
    fields.uid = status.uid;
    fields.gid = status.gid;
    fields.mtimeSeconds = status.mtimeSeconds;
    fields.mtimeNanos = status.mtimeNanos;
    fields.ctimeSeconds = status.ctimeSeconds;
    fields.ctimeNanos = status.ctimeNanos;
    fields.links = status.nlink;
    fields.inode = status.inode;
    fields.size = status.kind === KIND.file ? status.size : 0;
    fields.deviceMajor = status.deviceMajor;
    fields.deviceMinor = status.deviceMinor;
    const changedMs = status.ctimeSeconds * 1000 + status.ctimeNanos / 1e6;
    fields.flags = changedMs + RECENT_MS > this.#startedMs ? ENTRY_FLAG.recent : 0;
    this.noteOwners(status);
  }

  /** Takes the names of its owners only. */
  noteOwners({ uid, gid }: Pick<FileStatus, 'uid' | 'gid'>): void {
    const { owners, groups } = this;
    if (!owners.has(uid)) owners.set(uid, this.#files.userName(uid) ?? '');
    if (!groups.has(gid)) groups.set(gid, this.#files.groupName(gid) ?? '');
  }
}

const ENTRY_OF_KIND: Record<number, number> = {
  [KIND.file]: ENTRY.file,
  [KIND.directory]: ENTRY.directory,
  [KIND.symlink]: ENTRY.symlink,
  [KIND.fifo]: ENTRY.fifo,
  [KIND.socket]: ENTRY.socket,
  [KIND.characterDevice]: ENTRY.characterDevice,
  [KIND.blockDevice]: ENTRY.blockDevice,
};

function emptyFields(): EntryFields {
  return {
    kind: 0,
    flags: 0,
    mode: 0,
    depth: 0,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    mtimeNanos: 0,
    ctimeSeconds: 0,
    ctimeNanos: 0,
    links: 0,
    inode: 0,
    size: 0,
    deviceMajor: 0,
    deviceMinor: 0,
  };
}
