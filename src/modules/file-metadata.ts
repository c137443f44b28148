/**
 * Gives a restored file, directory, link or node the metadata of its entry (U2): owner,
 * attributes, mode, times, in this order: a new owner drops capabilities and set-id bits, an access
 * control list changes the mode, a mode may forbid attributes.
 *
 * What cannot be done is counted per kind, not reported per file: without root nobody can give files
 * away, and a file system without attributes has none.
 */
import type { ByteString } from '../base/bytes.ts';
import { ENTRY, type EntryView, EXTRA, readAttribute } from '../format/entry.ts';
import { errnoName, type Files } from '../host/files-only.ts';

/** What may be refused: kinds of metadata, and devices as a whole. */
export const METADATA = ['owner', 'mode', 'attribute', 'time', 'device'] as const;
export type MetadataKind = (typeof METADATA)[number];

const SET_ID_BITS = 0o6000;

export interface MetadataOptions {
  /** Whether owners are set at all. */
  readonly owners: boolean;
  /** Pairs of a stored number and the local one of the same name. */
  readonly users: readonly (readonly [number, number])[];
  readonly groups: readonly (readonly [number, number])[];
}

/** How often each kind was refused, and the first reason. */
export type MetadataRefusals = Partial<
  Record<MetadataKind, { count: number; first: string; path: ByteString }>
>;

/** What a new file has from its creation: by its user, its directory, the umask. */
export interface CreatedStatus {
  readonly uid: number;
  readonly gid: number;
  /** The twelve permission bits. */
  readonly mode: number;
}

export class MetadataWriter {
  readonly refusals: MetadataRefusals = {};
  readonly #files: Files;
  readonly #options: MetadataOptions;
  readonly #users: Map<number, number>;
  readonly #groups: Map<number, number>;

  constructor(files: Files, options: MetadataOptions) {
    this.#files = files;
    this.#options = options;
    this.#users = new Map(options.users);
    this.#groups = new Map(options.groups);
  }
  /** What owners of the source are called: those of the same names here get what belongs to them. */
  mapUser(stored: number, name: string): void {
    const local = this.#users.has(stored) || name === '' ? undefined : this.#files.userId(name);
    if (local !== undefined) this.#users.set(stored, local);
  }
  mapGroup(stored: number, name: string): void {
    const local = this.#groups.has(stored) || name === '' ? undefined : this.#files.groupId(name);
    if (local !== undefined) this.#groups.set(stored, local);
  }

  /** Counts what the system refused; `result` is its negative error number. */
  refused(kind: MetadataKind, result: number, path: ByteString): void {
    const refusal = this.refusals[kind];
    if (refusal === undefined) this.refusals[kind] = { count: 1, first: errnoName(-result), path };
    else refusal.count++;
  }

  /** Whether a file that was created so belongs to whom the entry says. */
  isOwner(entry: EntryView, given: CreatedStatus): boolean {
    return given.uid === this.#uid(entry) && given.gid === this.#gid(entry);
  }
  /** Of an open file or directory; of a new one, `given` is what it has from its creation. */
  apply(fd: number, entry: EntryView, given?: CreatedStatus): void {
    const files = this.#files;
    const { owners } = this.#options;
    const asCreated = given !== undefined && (!owners || this.isOwner(entry, given));
    const owned = !owners
      ? -1
      : asCreated
        ? 0
        : files.chownOf(fd, this.#uid(entry), this.#gid(entry));
    if (owned < 0) this.#notOwned(owned, entry.name);
    const attributes = this.#attributes(entry, (name, value) =>
      files.setAttributeOf(fd, name, value),
    );
    const wanted = this.#mode(entry, owned >= 0);
    // A change of the owner or of an access control list may have changed it.
    const hasMode = asCreated && attributes === 0 && given.mode === wanted;
    const mode = hasMode ? 0 : files.chmodOf(fd, wanted);
    if (mode < 0) this.refused('mode', mode, entry.name);
    const { mtimeSeconds, mtimeNanos } = entry;
    const timed = files.timesOf(fd, mtimeSeconds, mtimeNanos, mtimeSeconds, mtimeNanos);
    if (timed < 0) this.refused('time', timed, entry.name);
  }

  /** Of a link or node by name, which is never followed. */
  applyAt(directory: number, entry: EntryView): void {
    const files = this.#files;
    const name = entry.name;
    const uid = this.#uid(entry);
    const owned = this.#options.owners ? files.chown(directory, name, uid, this.#gid(entry)) : -1;
    if (owned < 0) this.#notOwned(owned, name);
    this.#attributes(entry, (attribute, value) =>
      files.setAttribute(directory, name, attribute, value),
    );
    // Links have no mode of their own.
    if (entry.kind !== ENTRY.symlink) {
      const mode = files.chmod(directory, name, this.#mode(entry, owned >= 0));
      if (mode < 0) this.refused('mode', mode, name);
    }
    const { mtimeSeconds, mtimeNanos } = entry;
    const timed = files.times(directory, name, mtimeSeconds, mtimeNanos, mtimeSeconds, mtimeNanos);
    if (timed < 0) this.refused('time', timed, name);
  }

  #notOwned(result: number, path: ByteString): void {
    if (this.#options.owners) this.refused('owner', result, path);
  }
  /**
   * The mode; without the owner that it was meant for, not the bits that lend the owner's rights: they
   * would lend those of whoever restores. On directories they lend none.
   */
  #mode(entry: EntryView, isOwned: boolean): number {
    return isOwned || entry.kind === ENTRY.directory ? entry.mode : entry.mode & ~SET_ID_BITS;
  }
  #uid(entry: EntryView): number {
    return this.#users.get(entry.uid) ?? entry.uid;
  }
  #gid(entry: EntryView): number {
    return this.#groups.get(entry.gid) ?? entry.gid;
  }
  /** Returns how many there are. */
  #attributes(entry: EntryView, set: (name: ByteString, value: Buffer) => number): number {
    let count = 0;
    if (!entry.hasExtras) return count;
    entry.eachExtra((type, value) => {
      if (type !== EXTRA.attribute) return;
      count++;
      const attribute = readAttribute(value);
      if (attribute === undefined) return;
      const result = set(attribute.name, attribute.value);
      if (result < 0) this.refused('attribute', result, entry.name);
    });
    return count;
  }
}

/** Pairs of stored numbers and those of the same names here, where they differ. */
export function localNumbers(
  stored: readonly (readonly [number, string])[],
  lookUp: (name: string) => number | undefined,
): (readonly [number, number])[] {
  const pairs: (readonly [number, number])[] = [];
  for (const [number, name] of stored) {
    const local = name === '' ? undefined : lookUp(name);
    if (local !== undefined && local !== number) pairs.push([number, local]);
  }
  return pairs;
}
