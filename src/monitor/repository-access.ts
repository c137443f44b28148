/**
 * What a machine with access to a repository may change.
 *
 *   read     nothing
 *   append   what a backup makes: leases, pending records and their publication as archives, index
 *            segments, map records, chunks; a repository, where there is none yet
 *   full     everything
 *
 * Contract: with `append` nothing that exists is removed, replaced or given another name, but for
 * the leases and pending records that the same machine has put. So whoever steals its key can add
 * backups, and cannot harm those that are there. Who put a lease or a pending record is remembered
 * in its attributes too, where the file system has them: a server that starts again still knows.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { AccessLevel } from '../channel/net/peers.ts';
import type { ObjectKind } from '../format/object-store.ts';
import { openFiles } from '../host/mod.ts';
import type { DirectoryStore } from '../media/directory-store.ts';

/** What an append-only client puts at any time. */
const APPENDED: ReadonlySet<ObjectKind> = new Set(['leases', 'pending', 'index', 'maps']);
/** What it puts while the repository is being made. */
const FOUNDING: ReadonlySet<ObjectKind> = new Set(['keys', 'repository']);
/** What belongs to who put it. */
const OWNED: ReadonlySet<ObjectKind> = new Set(['leases', 'pending']);

const ATTRIBUTE = 'user.penstock.peer';

/** The level that putting an object needs. */
export async function levelToPut(store: DirectoryStore, kind: ObjectKind): Promise<AccessLevel> {
  if (APPENDED.has(kind)) return 'append';
  if (!FOUNDING.has(kind)) return 'full';
  return (await store.list('repository')).length === 0 ? 'append' : 'full';
}

/** Who put which leases and pending records. */
export class Owners {
  readonly #owners = new Map<string, string>();

  /** Marks the file of a new object with who puts it. */
  mark(kind: ObjectKind, fd: number, fingerprint: string): void {
    if (OWNED.has(kind))
      openFiles().setAttributeOf(fd, ATTRIBUTE, Buffer.from(fingerprint, 'latin1'));
  }

  /** Notes who has put an object. */
  note(repository: string, kind: ObjectKind, name: string, fingerprint: string): void {
    if (!OWNED.has(kind)) return;
    if (this.#owners.size >= LIMITS.ownersMax)
      this.#owners.delete(this.#owners.keys().next().value ?? '');
    this.#owners.set(keyOf(repository, kind, name), fingerprint);
  }

  forget(repository: string, kind: ObjectKind, name: string): void {
    this.#owners.delete(keyOf(repository, kind, name));
  }

  /** `append` for what the same machine has put, `full` for all else. */
  async levelToChange(
    repository: string,
    store: DirectoryStore,
    kind: ObjectKind,
    name: string,
    fingerprint: string,
  ): Promise<AccessLevel> {
    if (!OWNED.has(kind)) return 'full';
    const stored = await storedOwner(store, kind, name);
    const owner = stored ?? this.#owners.get(keyOf(repository, kind, name));
    return owner === fingerprint ? 'append' : 'full';
  }
}

async function storedOwner(
  store: DirectoryStore,
  kind: ObjectKind,
  name: string,
): Promise<string | undefined> {
  const files = openFiles();
  let fd: number;
  try {
    fd = await store.openFile(kind, name);
  } catch (error) {
    if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return undefined;
    throw error;
  }
  const attributes = files.attributesOf(fd);
  files.close(fd);
  if (typeof attributes === 'number') return undefined;
  const found = attributes.find((one) => one.name === ATTRIBUTE);
  return found === undefined ? undefined : Buffer.from(found.value).toString('latin1');
}

function keyOf(repository: string, kind: ObjectKind, name: string): string {
  return `${repository}/${kind}/${name}`;
}
