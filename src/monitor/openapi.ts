/**
 * GET /v1/openapi.json: the OpenAPI 3.1 description of all routes, made from their schemas.
 *
 * Contract: registered before all other routes, so that it sees them. Each route must have a schema
 * with a `summary` and its answers; one without is a defect and stops the start. WebSockets are not
 * part of such descriptions.
 */
import type { RouteOptions } from 'fastify';
import { assert } from '../base/assert.ts';
import type { MonitorContext, MonitorServer } from './context.ts';
import { ERROR_SCHEMA } from './error-answers.ts';

type Json = Readonly<Record<string, unknown>>;

/** What a route's schema may have, for the description. */
interface RouteSchema {
  readonly summary?: string;
  readonly description?: string;
  readonly params?: ObjectSchema;
  readonly querystring?: ObjectSchema;
  readonly headers?: ObjectSchema;
  readonly body?: Json;
  /** The content type of a body that is no JSON. */
  readonly consumes?: readonly string[];
  readonly response?: Readonly<Record<string, ResponseSchema>>;
}

interface ObjectSchema {
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Json>>;
}

interface ResponseSchema {
  readonly description?: string;
  readonly type?: string;
  readonly content?: Json;
}

const DESCRIPTION_SCHEMA = {
  summary: 'this description',
  response: { 200: { type: 'object', additionalProperties: true } },
} as const;

const HIDDEN_METHODS = ['HEAD', 'OPTIONS'];

/** Gathers the routes that are registered from now on, and describes them. */
export function describeRoutes(server: MonitorServer, context: MonitorContext): void {
  const paths: Record<string, Record<string, Json>> = {};
  server.addHook('onRoute', (route) => {
    for (const method of [route.method].flat()) {
      if (HIDDEN_METHODS.includes(method)) continue;
      const path = route.url.replaceAll(/:(\w+)/g, '{$1}');
      const known = paths[path] ?? {};
      paths[path] = { ...known, [method.toLowerCase()]: operation(route) };
    }
  });
  server.get('/v1/openapi.json', { schema: DESCRIPTION_SCHEMA }, (): Json => {
    return {
      openapi: '3.1.0',
      info: { title: 'Penstock monitor', version: context.version },
      components: { schemas: { Error: ERROR_SCHEMA } },
      paths,
    };
  });
}

function operation(route: RouteOptions): Json {
  const schema = (route.schema ?? {}) as RouteSchema;
  const { summary, description, body, consumes = ['application/json'] } = schema;
  assert(summary !== undefined && schema.response !== undefined, `${route.url} has a schema`);
  const content = consumes.map((type) => [type, { schema: body ?? {} }] as const);
  const hasBody = body !== undefined || schema.consumes !== undefined;
  return {
    summary,
    ...(description === undefined ? {} : { description }),
    parameters: [
      ...parameters('path', schema.params),
      ...parameters('query', schema.querystring),
      ...parameters('header', schema.headers),
    ],
    ...(hasBody ? { requestBody: { required: true, content: Object.fromEntries(content) } } : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(schema.response).map(([status, answer]) => [status, response(answer)]),
      ),
      default: {
        description: 'an error',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

function parameters(place: string, schema: ObjectSchema | undefined): Json[] {
  return Object.entries(schema?.properties ?? {}).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || schema?.required?.includes(name) === true,
    schema: property,
  }));
}

function response(schema: ResponseSchema): Json {
  const { description = 'done', content, ...body } = schema;
  if (content !== undefined) return { description, content };
  if (schema.type === 'null') return { description };
  return { description, content: { 'application/json': { schema: body } } };
}
