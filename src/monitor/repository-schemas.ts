/**
 * The shapes of requests and answers about repositories; the OpenAPI description is made from them.
 */
import { OBJECT_KINDS } from '../format/object-store.ts';

const NAME = { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$' } as const;
const REPOSITORY = { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$' } as const;
const KIND = { type: 'string', enum: OBJECT_KINDS } as const;
const HEX_32 = { type: 'string', pattern: '^[0-9a-f]{32}$' } as const;
const COUNT = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;

const object = <P extends object, R extends readonly string[]>(properties: P, required: R) =>
  ({ type: 'object', properties, required, additionalProperties: false }) as const;

const done = object({ done: { type: 'boolean' } }, ['done'] as const);
/** A number in a query, which is text. */
const DIGITS = { type: 'string', pattern: '^[0-9]{1,15}$' } as const;
/** A file's bytes. */
const bytes = {
  description: 'the bytes',
  content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
} as const;

const REPOSITORY_PARAMS = object({ repository: REPOSITORY }, ['repository'] as const);
const KIND_PARAMS = object({ repository: REPOSITORY, kind: KIND }, ['repository', 'kind'] as const);
const OBJECT_PARAMS = object({ repository: REPOSITORY, kind: KIND, name: NAME }, [
  'repository',
  'kind',
  'name',
] as const);
const CHUNK_PARAMS = object({ repository: REPOSITORY, id: HEX_32 }, ['repository', 'id'] as const);
const SESSION = object({ session: HEX_32 }, ['session'] as const);

export const SCHEMAS = {
  look: {
    summary: 'what the asking machine may do with a repository',
    params: REPOSITORY_PARAMS,
    response: {
      200: object({ level: { type: 'string', enum: ['read', 'append', 'full'] } }, [
        'level',
      ] as const),
    },
  },
  prepare: {
    summary: 'make what an empty repository needs',
    params: REPOSITORY_PARAMS,
    response: { 200: done },
  },
  now: {
    summary: "the time by the store's clock",
    params: REPOSITORY_PARAMS,
    response: { 200: object({ nowMs: { type: 'number' } }, ['nowMs'] as const) },
  },
  sweep: {
    summary: 'remove what interrupted writers left',
    params: REPOSITORY_PARAMS,
    querystring: object({ olderThanMs: DIGITS }, ['olderThanMs'] as const),
    response: { 200: object({ removed: COUNT }, ['removed'] as const) },
  },
  foreign: {
    summary: 'what lies among the objects and is none, and folders that are missing',
    params: REPOSITORY_PARAMS,
    response: {
      200: object(
        {
          foreign: { type: 'array', items: { type: 'string' } },
          missing: { type: 'array', items: { type: 'string' } },
        },
        ['foreign', 'missing'] as const,
      ),
    },
  },
  list: {
    summary: 'the objects of a kind, by name, a page at a time',
    params: KIND_PARAMS,
    querystring: object({ after: NAME }, [] as const),
    response: {
      200: object(
        {
          objects: {
            type: 'array',
            items: object({ name: NAME, bytes: COUNT, modifiedMs: { type: 'number' } }, [
              'name',
              'bytes',
              'modifiedMs',
            ] as const),
          },
          more: { type: 'boolean' },
        },
        ['objects', 'more'] as const,
      ),
    },
  },
  read: {
    summary: 'the bytes of an object, or a range of them',
    params: OBJECT_PARAMS,
    response: { 200: bytes, 206: bytes },
  },
  put: {
    summary: 'create an object durably; never replaces one',
    params: OBJECT_PARAMS,
    consumes: ['application/octet-stream'],
    response: { 201: done },
  },
  remove: { summary: 'remove an object', params: OBJECT_PARAMS, response: { 200: done } },
  publish: {
    summary: 'give a pending record its name as an archive',
    params: OBJECT_PARAMS,
    querystring: object({ to: KIND }, ['to'] as const),
    response: { 200: done },
  },
  touch: {
    summary: 'set the time of an object to now',
    params: OBJECT_PARAMS,
    response: { 200: done },
  },
  chunk: {
    summary: 'how long a chunk is',
    params: CHUNK_PARAMS,
    response: { 200: object({ bytes: COUNT }, ['bytes'] as const) },
  },
  part: {
    summary: 'write a part of a chunk; may be repeated',
    params: CHUNK_PARAMS,
    querystring: object({ session: HEX_32, position: DIGITS }, ['session', 'position'] as const),
    consumes: ['application/octet-stream'],
    response: { 200: object({ bytes: COUNT }, ['bytes'] as const) },
  },
  commit: {
    summary: 'make a chunk durable under its name; may be repeated, never replaces one',
    params: CHUNK_PARAMS,
    querystring: object({ session: HEX_32, bytes: DIGITS }, ['session', 'bytes'] as const),
    response: { 200: done },
  },
  discard: {
    summary: 'leave nothing of a chunk that was not committed',
    params: CHUNK_PARAMS,
    querystring: SESSION,
    response: { 200: done },
  },
} as const;
