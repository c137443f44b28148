/**
 * A repository that another machine serves, penstock://host[:port]/name (format/object-store.ts).
 *
 * Contract: keys and plain text stay here. Every call is one that may be made again, and is, when a
 * connection breaks: of `put`, `remove` and `publish` the answer is then what the first one would
 * have been. Once the server is lost, everything fails with that, also `close`: so no command takes
 * for damage what is only out of reach. What this machine may not change is REPO_READ_ONLY.
 */
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { ObjectKind, ObjectStore, StoredObject } from '../../format/object-store.ts';
import { calledChunks } from '../../pipe/called-chunks.ts';
import { formatAddress } from '../net/peers.ts';
import type { IndexCache } from './index-cache.ts';
import type { NetOptions } from './net-client.ts';
import { type LinkAnswer, NetLink } from './net-link.ts';

const SAFE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$/;

/** Answers that hold a word or two. */
const SMALL = LIMITS.apiErrorBytesMax;
/** Status of an object that cannot be created. */
const TAKEN = 409;

type Level = 'read' | 'append' | 'full';

export interface RemoteStoreOptions extends NetOptions {
  /** The repository's name on the server. */
  readonly name: string;
  readonly cache: IndexCache;
  /** Once aborted, a server that is away is not waited for. */
  readonly signal?: AbortSignal;
}

/**
 * Connects to a served repository.
 *
 * @throws NET_UNREACHABLE, NET_UNTRUSTED, NET_REFUSED, NET_DENIED, NET_LOST, REPO_MISSING
 */
export async function openRemoteStore(options: RemoteStoreOptions): Promise<RemoteStore> {
  const base = `/v1/repositories/${encodeURIComponent(options.name)}`;
  const { identity, server, agents, bytesPerSecond, reconnectMs } = options;
  const link = new NetLink({ identity, server, agents, bytesPerSecond, reconnectMs }, base);
  const hurry = (): void => link.hurry();
  options.signal?.addEventListener('abort', hurry, { once: true });
  try {
    const { body } = await link.request({ method: 'GET', path: base, bytesMax: SMALL });
    const { level } = parse<{ level: Level }>(body);
    return new RemoteStore(options, link, base, level, () =>
      options.signal?.removeEventListener('abort', hurry),
    );
  } catch (error) {
    options.signal?.removeEventListener('abort', hurry);
    await link.close();
    throw error;
  }
}

export class RemoteStore implements ObjectStore {
  readonly url: string;
  readonly appendOnly: boolean;
  readonly readsAtOnce: number = LIMITS.agentsDefaultMax;
  readonly #level: Level;
  readonly #link: NetLink;
  readonly #base: string;
  readonly #cache: IndexCache;
  readonly #onClose: () => void;
  readonly #isInterrupted: () => boolean;
  #isClosed = false;

  constructor(
    options: RemoteStoreOptions,
    link: NetLink,
    base: string,
    level: Level,
    onClose: () => void,
  ) {
    const { host, port } = options.server;
    this.url = `penstock://${formatAddress(host, port)}/${options.name}`;
    this.#level = level;
    this.appendOnly = level === 'append';
    this.#link = link;
    this.#base = base;
    this.#cache = options.cache;
    this.#onClose = onClose;
    this.#isInterrupted = () => options.signal?.aborted === true;
  }

  get chunkMedia(): { module: string; options: unknown } {
    const gone = { code: 'NET_LOST', message: 'the connection to the repository is over' } as const;
    return calledChunks({ memory: this.#link.memory, gone });
  }

  async prepare(): Promise<void> {
    await this.#change('POST', `${this.#base}/prepare`, 'make a repository');
  }

  async list(kind: ObjectKind): Promise<StoredObject[]> {
    try {
      return await this.#list(kind);
    } catch (error) {
      // Its directory is made with the repository.
      const isEmpty = error instanceof PenstockError && error.code === 'REPO_MISSING';
      if (kind === 'repository' && isEmpty) return [];
      throw error;
    }
  }
  async #list(kind: ObjectKind): Promise<StoredObject[]> {
    const found: StoredObject[] = [];
    let query = '';
    for (;;) {
      const path = `${this.#base}/objects/${kind}${query}`;
      const { objects, more } = await this.#json<ListPage>('GET', path, LIMITS.listPageBytesMax);
      for (const one of objects) found.push(one);
      const last = objects.at(-1);
      if (!more || last === undefined) break;
      query = `?after=${encodeURIComponent(last.name)}`;
    }
    if (kind === 'index') this.#cache.retain(new Set(found.map(({ name }) => name)));
    return found;
  }

  async read(kind: ObjectKind, name: string, bytesMax: number): Promise<Buffer> {
    const path = this.#objectPath(kind, name);
    const cached = kind === 'index' ? this.#cache.read(name) : undefined;
    if (cached !== undefined && cached.length <= bytesMax) return cached;
    const { body } = await this.#request('GET', path, bytesMax);
    if (kind === 'index') this.#cache.keep(name, body);
    return body;
  }

  async put(kind: ObjectKind, name: string, bytes: Uint8Array): Promise<boolean> {
    const path = this.#objectPath(kind, name);
    this.#mayChange(`store ${kind}/${name}`);
    const { status, attempts } = await this.#put(path, bytes, `store ${kind}/${name}`);
    // Where it is taken, the answer to an earlier attempt of ours may have been lost.
    const isOurs = status !== TAKEN || (attempts > 1 && (await this.#has(path, bytes)));
    if (isOurs && kind === 'index') this.#cache.keep(name, bytes);
    return isOurs;
  }
  async #put(path: string, body: Uint8Array, what: string): Promise<LinkAnswer> {
    try {
      return await this.#request('PUT', path, SMALL, { body, accept: TAKEN });
    } catch (error) {
      throw refusal(error, what);
    }
  }
  async #has(path: string, bytes: Uint8Array): Promise<boolean> {
    return (await this.#request('GET', path, LIMITS.indexSegmentBytesMax)).body.equals(bytes);
  }

  async remove(kind: ObjectKind, name: string): Promise<boolean> {
    if (kind === 'index') this.#cache.remove(name);
    const path = this.#objectPath(kind, name);
    const { done, attempts } = await this.#change('DELETE', path, `remove ${kind}/${name}`);
    return done || attempts > 1;
  }

  async publish(from: ObjectKind, to: ObjectKind, name: string): Promise<boolean> {
    const path = `${this.#objectPath(from, name)}/publish?to=${to}`;
    return (await this.#change('POST', path, `publish ${to}/${name}`)).done;
  }

  async touch(kind: ObjectKind, name: string): Promise<boolean> {
    const path = `${this.#objectPath(kind, name)}/touch`;
    return (await this.#change('POST', path, `touch ${kind}/${name}`)).done;
  }

  async nowMs(): Promise<number> {
    const { nowMs } = await this.#json<{ nowMs: number }>('GET', `${this.#base}/now`, SMALL);
    return nowMs;
  }

  /** A segment is fetched as a whole to be read in parts. */
  async openFile(kind: ObjectKind, name: string): Promise<number> {
    if (kind !== 'index') return -1;
    const there = this.#cache.open(name);
    if (there >= 0) return there;
    const { body } = await this.#request(
      'GET',
      this.#objectPath(kind, name),
      LIMITS.indexSegmentBytesMax,
    );
    this.#cache.keep(name, body);
    const fd = this.#cache.open(name);
    if (fd >= 0) return fd;
    throw new PenstockError('HOST_IO', `index segment ${name} cannot be kept in the state folder`, {
      hint: 'the index is too large to be held in memory: give --state a folder with room for it',
    });
  }

  async sweep(olderThanMs: number): Promise<number> {
    const what = 'remove what was left behind';
    this.#mayChange(what);
    const age = Math.max(0, Math.floor(olderThanMs));
    const path = `${this.#base}/sweep?olderThanMs=${age}`;
    try {
      return (await this.#json<{ removed: number }>('POST', path, SMALL)).removed;
    } catch (error) {
      throw refusal(error, what);
    }
  }

  foreign(): Promise<{ foreign: readonly string[]; missing: readonly string[] }> {
    return this.#json('GET', `${this.#base}/foreign`, LIMITS.listPageBytesMax);
  }

  /** NET_LOST when the server was lost meanwhile: whatever was concluded since may be wrong. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClose();
    await this.#link.close();
    const { lost } = this.#link;
    if (lost !== undefined && !this.#isInterrupted()) throw lost;
  }

  #objectPath(kind: ObjectKind, name: string): string {
    if (!SAFE_NAME.test(name))
      throw new PenstockError('INTERNAL', `not a name of an object: ${name}`);
    return `${this.#base}/objects/${kind}/${name}`;
  }

  #mayChange(what: string): void {
    if (this.#level !== 'read') return;
    throw refusal(new PenstockError('NET_DENIED', 'this machine may only read it'), what);
  }

  async #change(
    method: string,
    path: string,
    what: string,
  ): Promise<{ done: boolean; attempts: number }> {
    this.#mayChange(what);
    try {
      const { body, attempts } = await this.#request(method, path, SMALL);
      return { done: parse<{ done: boolean }>(body).done, attempts };
    } catch (error) {
      throw refusal(error, what);
    }
  }
  async #json<T>(method: string, path: string, bytesMax: number): Promise<T> {
    return parse<T>((await this.#request(method, path, bytesMax)).body);
  }
  async #request(
    method: string,
    path: string,
    bytesMax: number,
    more: { body?: Uint8Array; accept?: number } = {},
  ): Promise<LinkAnswer> {
    return this.#link.request({ method, path, bytesMax, ...more });
  }
}

interface ListPage {
  readonly objects: readonly StoredObject[];
  readonly more: boolean;
}

function parse<T>(body: Buffer): T {
  try {
    return JSON.parse(body.toString('utf8')) as T;
  } catch (cause) {
    throw new PenstockError('NET_PROTOCOL', 'the server answered with no JSON', { cause });
  }
}

/** To who changes a repository, one that does not let itself be changed is read-only. */
function refusal(error: unknown, what: string): unknown {
  if (!(error instanceof PenstockError) || error.code !== 'NET_DENIED') return error;
  return new PenstockError('REPO_READ_ONLY', `cannot ${what}: ${error.message}`, {
    cause: error,
    hint: 'ask for more access: `penstock pair token --access append|full` on the server',
  });
}
