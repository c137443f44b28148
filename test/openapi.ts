/**
 * Holds answers of the monitor against its OpenAPI description.
 *
 * Contract: an answer agrees if its route and method are described, its status is (or it is an error,
 * `default`), its content type is the one of that status, and its JSON fits the schema. Schemas are
 * checked by the validator that fastify brings, without coercion.
 */
import fastify, { type FastifyRequest } from 'fastify';

export interface Answer {
  readonly method: string;
  /** Of fastify's form, `/v1/peers/:kind`, or the description's. */
  readonly route: string;
  readonly status: number;
  readonly contentType: string;
  readonly payload: unknown;
}

interface Described {
  readonly description: string;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

type Schema = Readonly<Record<string, unknown>>;

export interface Description {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string };
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface Operation {
  readonly summary: string;
  readonly parameters: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
  readonly responses: Readonly<Record<string, Described>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required: boolean;
  readonly schema: Schema;
}

type Validate = (schema: Schema, value: unknown) => boolean;

/** A checker of answers: returns in words what does not agree, or undefined. */
export async function openChecker(
  description: Description,
): Promise<(answer: Answer) => string | undefined> {
  const validate = await openValidator();
  return (answer) => disagreement(description, answer, validate);
}

function disagreement(
  description: Description,
  answer: Answer,
  validate: Validate,
): string | undefined {
  const { method, route, status, contentType, payload } = answer;
  const path = route.replaceAll(/:(\w+)/g, '{$1}');
  const operation = description.paths[path]?.[method.toLowerCase()];
  if (operation === undefined) return `${method} ${path} is not described`;
  const { responses } = operation;
  const described = responses[String(status)] ?? (status >= 400 ? responses.default : undefined);
  if (described === undefined) return `${method} ${path} ${status} is not described`;
  const [type = ''] = contentType.split(';');
  if (described.content === undefined) {
    const isEmpty = payload === undefined || payload === null || payload === '';
    return isEmpty ? undefined : `${method} ${path} ${status} has a body that is not described`;
  }
  const schema = described.content[type]?.schema;
  if (schema === undefined) return `${method} ${path} ${status}: ${type} is not described`;
  if (type !== 'application/json') return undefined;
  const fits = validate(resolved(description, schema), JSON.parse(String(payload)));
  return fits ? undefined : `${method} ${path} ${status} does not fit its schema: ${payload}`;
}

function resolved(description: Description, schema: Schema): Schema {
  const name = /^#\/components\/schemas\/(\w+)$/.exec(String(schema.$ref))?.[1];
  return name === undefined ? schema : (description.components.schemas[name] ?? { not: {} });
}

/** Requests of fastify can check a value by any schema; so one is made and kept. */
async function openValidator(): Promise<Validate> {
  const server = fastify({
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
  });
  let kept: FastifyRequest | undefined;
  server.get('/', (request) => {
    kept = request;
    return '';
  });
  await server.inject('/');
  return (schema, value) => kept?.validateInput(value, schema) === true;
}
