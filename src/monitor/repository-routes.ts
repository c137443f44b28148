/**
 * Repositories that this monitor serves, object by object: /v1/repositories/NAME/…
 *
 * Contract: the keys stay on the clients; the server sees what a directory would. Every call may be
 * made again after its answer was lost, and does no harm (what `put`, `remove` answer then is for
 * the client to understand). Access is asked before anything is looked at. Bodies are streamed to
 * the file and bounded; names cannot leave the repository's directory. repository-access.ts says
 * what a client with access to append may do.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type AccessLevel, mayAccess, type Peer } from '../channel/net/peers.ts';
import type { ObjectKind } from '../format/object-store.ts';
import { FileStatus, openFiles } from '../host/mod.ts';
import type { DirectoryStore } from '../media/directory-store.ts';
import type { ChunkUpload } from '../media/directory-uploads.ts';
import type { MonitorContext, MonitorServer } from './context.ts';
import { levelToPut, Owners } from './repository-access.ts';
import { receiveBody, sendFile, syncLater } from './repository-bodies.ts';
import { Listings, type ListPage } from './repository-listings.ts';
import { Quotas } from './repository-quotas.ts';
import { SCHEMAS } from './repository-schemas.ts';
import { RepositoryStores } from './repository-stores.ts';

const BASE = '/v1/repositories/:repository';
const OBJECT = `${BASE}/objects/:kind/:name`;
const CHUNK = `${BASE}/chunks/:id`;

interface Params {
  readonly repository: string;
  readonly kind: ObjectKind;
  readonly name: string;
  readonly id: string;
}
interface Query {
  readonly after?: string;
  readonly to: ObjectKind;
  readonly session: string;
  readonly position: string;
  readonly bytes: string;
  readonly olderThanMs: string;
}
type Request = FastifyRequest<{ Params: Params; Querystring: Query }>;

/** Joins the routes of repositories to the monitor. */
export function repositoryRoutes(server: MonitorServer, context: MonitorContext): void {
  const stores = new RepositoryStores(context.repositories);
  const routes = new Routes(context, stores);
  context.onClose((drainMs) => stores.close(drainMs));
  // The routes read bodies themselves.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _payload, done) => done(null));
  const add = <A>(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    url: string,
    schema: object,
    answer: (request: Request, reply: FastifyReply) => Promise<A>,
  ): void => {
    server.route<{ Params: Params; Querystring: Query }>({
      method,
      url,
      schema,
      exposeHeadRoute: false,
      handler: (request, reply) => stores.during(() => answer(request, reply)),
    });
  };
  add('GET', BASE, SCHEMAS.look, (request) => routes.look(request));
  add('POST', `${BASE}/prepare`, SCHEMAS.prepare, (request) => routes.prepare(request));
  add('GET', `${BASE}/now`, SCHEMAS.now, (request) => routes.now(request));
  add('POST', `${BASE}/sweep`, SCHEMAS.sweep, (request) => routes.sweep(request));
  add('GET', `${BASE}/foreign`, SCHEMAS.foreign, (request) => routes.foreign(request));
  add('GET', `${BASE}/objects/:kind`, SCHEMAS.list, (request) => routes.list(request));
  add('GET', OBJECT, SCHEMAS.read, (request, reply) => routes.read(request, reply));
  add('PUT', OBJECT, SCHEMAS.put, (request, reply) => routes.put(request, reply));
  add('DELETE', OBJECT, SCHEMAS.remove, (request) => routes.remove(request));
  add('POST', `${OBJECT}/publish`, SCHEMAS.publish, (request) => routes.publish(request));
  add('POST', `${OBJECT}/touch`, SCHEMAS.touch, (request) => routes.touch(request));
  add('GET', CHUNK, SCHEMAS.chunk, (request) => routes.lengthOf(request));
  add('PUT', `${CHUNK}/parts`, SCHEMAS.part, (request) => routes.part(request));
  add('POST', `${CHUNK}/commit`, SCHEMAS.commit, (request, reply) => routes.commit(request, reply));
  add('DELETE', `${CHUNK}/parts`, SCHEMAS.discard, (request) => routes.discard(request));
}

class Routes {
  readonly #context: MonitorContext;
  readonly #stores: RepositoryStores;
  readonly #owners = new Owners();
  readonly #listings: Listings;
  readonly #quotas: Quotas;
  readonly #status = new FileStatus();
  /** Requests that are writing to a chunk: once it is committed none may any more. */
  readonly #writing = new Map<string, Set<FastifyRequest>>();

  constructor(context: MonitorContext, stores: RepositoryStores) {
    this.#context = context;
    this.#stores = stores;
    const monotonicMs = (): number => context.clock.monotonicMs();
    this.#listings = new Listings(monotonicMs);
    this.#quotas = new Quotas(monotonicMs, (repository) => stores.bytesOf(repository));
  }

  /** The store of a request that needs this level. NET_DENIED, REPO_MISSING. */
  #store(request: Request, level: AccessLevel): DirectoryStore {
    this.#peer(request, level);
    return this.#stores.store(request.params.repository);
  }
  #peer(request: Request, level: AccessLevel): Peer {
    return this.#context.requireAccess(request, request.params.repository, level);
  }

  async look(request: Request): Promise<{ level: AccessLevel }> {
    const { repository } = request.params;
    const peer = this.#peer(request, 'read');
    this.#stores.pathOf(repository);
    const level = (['full', 'append'] as const).find((one) => mayAccess(peer, repository, one));
    return { level: level ?? 'read' };
  }

  async prepare(request: Request): Promise<{ done: boolean }> {
    this.#peer(request, 'append');
    const store = await this.#stores.prepared(request.params.repository);
    await store.prepare();
    return { done: true };
  }

  async now(request: Request): Promise<{ nowMs: number }> {
    return { nowMs: await this.#store(request, 'read').nowMs() };
  }

  async sweep(request: Request): Promise<{ removed: number }> {
    const ageMs = Number(request.query.olderThanMs);
    return { removed: await this.#store(request, 'full').sweep(ageMs) };
  }

  async foreign(request: Request): Promise<object> {
    return this.#store(request, 'read').foreign();
  }

  async list(request: Request): Promise<ListPage> {
    const { repository, kind } = request.params;
    const { fingerprint } = this.#peer(request, 'read');
    const store = this.#stores.store(repository);
    const key = `${fingerprint}/${repository}/${kind}`;
    return this.#listings.page(key, request.query.after, () => store.list(kind));
  }

  async read(request: Request, reply: FastifyReply): Promise<void> {
    const { kind, name } = request.params;
    const fd = await this.#store(request, 'read').openFile(kind, name);
    try {
      const bytes = this.#bytesOf(fd);
      const [from, length] = rangeOf(request.headers.range, bytes);
      reply.hijack();
      const whole = request.headers.range === undefined;
      reply.raw.writeHead(whole ? 200 : 206, {
        'content-type': 'application/octet-stream',
        'content-length': length,
        ...(whole ? {} : { 'content-range': `bytes ${from}-${from + length - 1}/${bytes}` }),
      });
      await sendFile(reply.raw, fd, from, length);
    } finally {
      openFiles().close(fd);
    }
  }
  #bytesOf(fd: number): number {
    if (openFiles().statusOf(fd, this.#status) < 0)
      throw new PenstockError('REPO_IO', 'cannot look at an object');
    return this.#status.size;
  }

  /** How long a chunk is. */
  async lengthOf(request: Request): Promise<{ bytes: number }> {
    const fd = await this.#store(request, 'read').openFile('chunks', request.params.id);
    const bytes = this.#bytesOf(fd);
    openFiles().close(fd);
    return { bytes };
  }

  async put(request: Request, reply: FastifyReply): Promise<{ done: boolean }> {
    const { repository, kind, name } = request.params;
    this.#peer(request, 'append');
    if (kind === 'chunks') throw new PenstockError('FORMAT', 'chunks are written in parts');
    const store = this.#stores.store(repository);
    const peer = this.#peer(request, await levelToPut(store, kind));
    const bytesMax = kind === 'index' ? LIMITS.indexSegmentBytesMax : LIMITS.recordBytesMax;
    const lengthBytes = announced(request, bytesMax);
    const arrived = await this.#quotas.admit(peer, repository, lengthBytes, kind === 'leases');
    const upload = store.upload(kind, name);
    try {
      await receiveBody(request.raw, bytesMax, (piece) => upload.write(piece, 0, piece.length));
      this.#owners.mark(kind, upload.fd, peer.fingerprint);
      await whileTelling(reply, () => syncLater(upload.fd));
      // Somebody else may have made the repository while this came.
      this.#peer(request, await levelToPut(store, kind));
      const fresh = upload.commit();
      if (fresh) this.#owners.note(repository, kind, name, peer.fingerprint);
      if (!fresh)
        throw new PenstockError('OBJECT_EXISTS', `there is an object ${kind}/${name} already`);
      reply.code(201);
      return { done: true };
    } finally {
      arrived();
      upload.close();
    }
  }

  async remove(request: Request): Promise<{ done: boolean }> {
    const { repository, kind, name } = request.params;
    const store = await this.#toChange(request);
    const removed = await store.remove(kind, name);
    this.#owners.forget(repository, kind, name);
    return { done: removed };
  }
  /** The store, if this machine may remove or publish the object. */
  async #toChange(request: Request): Promise<DirectoryStore> {
    const { repository, kind, name } = request.params;
    const { fingerprint } = this.#peer(request, 'append');
    const store = this.#stores.store(repository);
    const level = await this.#owners.levelToChange(repository, store, kind, name, fingerprint);
    this.#peer(request, level);
    return store;
  }

  async publish(request: Request): Promise<{ done: boolean }> {
    const { kind, name } = request.params;
    const { to } = request.query;
    if (kind !== 'pending' || to !== 'archives')
      throw new PenstockError('FORMAT', 'only pending records are published, as archives');
    const store = await this.#toChange(request);
    return { done: await store.publish(kind, to, name) };
  }

  async touch(request: Request): Promise<{ done: boolean }> {
    const { kind, name } = request.params;
    const store = this.#store(request, kind === 'leases' ? 'append' : 'full');
    return { done: await store.touch(kind, name) };
  }

  #chunk(request: Request): ChunkUpload {
    const { fingerprint } = this.#peer(request, 'append');
    const owner = `${request.query.session}.${fingerprint.slice(0, 16)}`;
    return this.#stores.chunk(request.params.repository, request.params.id, owner);
  }

  async part(request: Request): Promise<{ bytes: number }> {
    const chunk = this.#chunk(request);
    const position = Number(request.query.position);
    if (position > LIMITS.chunkSentBytesMax)
      throw new PenstockError('LIMIT', `a chunk has more than ${LIMITS.chunkSentBytesMax} bytes`);
    const peer = this.#peer(request, 'append');
    const bytesMax = LIMITS.chunkPartBytesMax;
    const { repository } = request.params;
    const arrived = await this.#quotas.admit(peer, repository, announced(request, bytesMax), false);
    const fd = chunk.open();
    const key = this.#writingKey(request);
    const writers = this.#writing.get(key) ?? new Set();
    this.#writing.set(key, writers.add(request));
    try {
      const bytes = await receiveBody(request.raw, bytesMax, (piece, at) => {
        if (!writers.has(request))
          throw new PenstockError('REPO_IO', 'the chunk is stored already');
        chunk.write(fd, piece, 0, piece.length, position + at);
      });
      return { bytes };
    } finally {
      arrived();
      openFiles().close(fd);
      writers.delete(request);
      if (writers.size === 0) this.#writing.delete(key);
    }
  }

  /** Which of what is being written a request is about: nobody speaks of what is another machine's. */
  #writingKey(request: Request): string {
    const { params, query } = request;
    const { fingerprint } = this.#peer(request, 'append');
    return `${params.repository}/${params.id}.${query.session}.${fingerprint}`;
  }

  async discard(request: Request): Promise<{ done: boolean }> {
    this.#chunk(request).discard();
    return { done: true };
  }

  async commit(request: Request, reply: FastifyReply): Promise<{ done: boolean }> {
    const chunk = this.#chunk(request);
    const bytes = Number(request.query.bytes);
    await whileTelling(reply, () => chunk.commit(bytes, syncLater));
    // What still arrives for it, on a connection that was given up, must not change it.
    this.#writing.get(this.#writingKey(request))?.clear();
    return { done: true };
  }
}

/** How many bytes a request's body has, at most. */
function announced({ headers }: Request, bytesMax: number): number {
  const bytes = Number(headers['content-length'] ?? bytesMax);
  return Number.isFinite(bytes) ? Math.min(bytes, bytesMax) : bytesMax;
}

/** Slow storage is no dead server: the client hears of it while it waits. */
async function whileTelling(reply: FastifyReply, work: () => Promise<void>): Promise<void> {
  const beat = setInterval(() => reply.raw.writeProcessing(), LIMITS.netBeatMs);
  try {
    await work();
  } finally {
    clearInterval(beat);
  }
}

/** Position and length of what is asked for. FORMAT for what is no range within the object. */
function rangeOf(header: string | undefined, bytes: number): [from: number, length: number] {
  if (header === undefined) return [0, bytes];
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header) ?? [];
  const from = Number(first);
  const to = Math.min(Number(last), bytes - 1);
  if (first === undefined || from > to)
    throw new PenstockError('FORMAT', `no range within ${bytes} bytes: ${header}`);
  return [from, to - from + 1];
}
