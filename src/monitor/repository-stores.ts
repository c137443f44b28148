/**
 * The repositories that this monitor serves: their directories, opened when first asked for and again
 * where another directory has come in their place.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { OBJECT_KINDS } from '../format/object-store.ts';
import { CWD, errnoName, FileStatus, type Files, newListing, openFiles } from '../host/mod.ts';
import { type DirectoryStore, openDirectoryStore } from '../media/directory-store.ts';
import { ChunkUpload } from '../media/directory-uploads.ts';

/** What may lie in the directory of a repository that is still being made. */
const OWN_NAMES: ReadonlySet<string> = new Set([...OBJECT_KINDS, 'writing', 'lost+found']);

interface Opened {
  readonly store: DirectoryStore;
  readonly root: number;
  /** Device and inode of the directory. */
  readonly identity: string;
}

export class RepositoryStores {
  readonly #directories: ReadonlyMap<string, ByteString>;
  readonly #files: Files;
  readonly #status = new FileStatus();
  readonly #opened = new Map<string, Opened>();
  readonly #retired: Opened[] = [];
  #busy = 0;
  #isClosed = false;
  #idle: (() => void) | undefined;

  /** `directories`: where each repository lies, by its name. */
  constructor(directories: ReadonlyMap<string, ByteString>) {
    this.#directories = directories;
    this.#files = openFiles();
  }

  /** REPO_MISSING for what is not served, and where there is no directory yet. */
  store(name: string): DirectoryStore {
    return this.#open(name, false).store;
  }

  /** The same; the directory is made where it is not there, and refused where it holds other things. */
  async prepared(name: string): Promise<DirectoryStore> {
    const { store, root } = this.#open(name, true);
    const listing = newListing();
    this.#files.list(root, listing);
    const foreign = listing.names.some((one) => !OWN_NAMES.has(one));
    if (foreign) {
      const message = `the directory of repository ${name} holds other things, and no repository`;
      throw new PenstockError('REPO_MISSING', message, {
        hint: 'have the server serve a new or an empty directory under this name',
      });
    }
    return store;
  }

  /** What a repository holds, with what is being written to it. */
  async bytesOf(name: string): Promise<number> {
    const { store } = this.#open(name, false);
    let bytes = store.bytesWriting();
    for (const kind of OBJECT_KINDS)
      for (const object of await store.list(kind)) bytes += object.bytes;
    return bytes;
  }

  chunk(name: string, id: string, owner: string): ChunkUpload {
    const { root } = this.#open(name, false);
    return new ChunkUpload(this.#files, root, name, id, owner);
  }

  /** Where a repository lies. REPO_MISSING for what is not served. */
  pathOf(name: string): ByteString {
    const path = this.#directories.get(name);
    if (path !== undefined) return path;
    throw new PenstockError('REPO_MISSING', `this server has no repository ${name}`, {
      hint: 'check the name in --repo, and `penstock serve --repo NAME=DIR` on the server',
    });
  }

  #open(name: string, create: boolean): Opened {
    const path = this.pathOf(name);
    const known = this.#opened.get(name);
    if (known !== undefined) {
      if (this.#identity(path) === known.identity) return known;
      // Requests that are under way still use its descriptors: they are closed at the end.
      this.#retired.push(known);
    }
    const store = openDirectoryStore(path, create, this.#files, name);
    const opened = {
      store,
      root: this.#files.openDirectoryFollow(CWD, path),
      identity: this.#identity(path),
    };
    if (opened.root < 0)
      throw new PenstockError(
        'REPO_IO',
        `cannot open repository ${name}: ${errnoName(-opened.root)}`,
      );
    this.#opened.set(name, opened);
    return opened;
  }
  #identity(path: ByteString): string {
    const status = this.#status;
    if (this.#files.statusFollow(CWD, path, status) < 0) return '';
    return `${status.deviceMajor}:${status.deviceMinor}:${status.inode}`;
  }

  /** Work that uses descriptors: they stay open meanwhile. NET_BUSY once it is to end. */
  async during<A>(work: () => Promise<A>): Promise<A> {
    if (this.#isClosed)
      throw new PenstockError('NET_BUSY', 'the server is being stopped', { hint: 'try again' });
    this.#busy++;
    try {
      return await work();
    } finally {
      this.#busy--;
      if (this.#busy === 0) this.#idle?.();
    }
  }

  /** Takes no more work; descriptors of work that takes longer than `drainMs` stay open. */
  async close(drainMs: number): Promise<void> {
    this.#isClosed = true;
    if (this.#busy > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
      await Promise.race([idle, sleep(drainMs, undefined, { ref: false })]);
    }
    if (this.#busy > 0) return;
    for (const { store, root } of [...this.#opened.values(), ...this.#retired]) {
      this.#files.close(root);
      await store.close();
    }
    this.#opened.clear();
    this.#retired.length = 0;
  }
}
