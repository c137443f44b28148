/**
 * From a PenstockError to what goes over the wire: a status and `{ "error": … }`.
 *
 * Contract: every answer that is no success has this form. A defect of ours is logged whole and told
 * without its details. Nothing that the other side sent is repeated but what a schema's check names.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { type ErrorCode, PenstockError, toPenstockError } from '../base/errors.ts';
import type { Logger } from './logger.ts';

/** The status of codes that are not the daemon's own trouble; all others are 500. */
const STATUSES: Partial<Record<ErrorCode, number>> = {
  USAGE: 400,
  FORMAT: 400,
  NOT_SUPPORTED: 400,
  PIPE_CONFIG: 400,
  NET_PROTOCOL: 400,
  NET_REFUSED: 401,
  NET_DENIED: 403,
  PAIRING_REFUSED: 403,
  TARGET_ESCAPE: 403,
  REPO_MISSING: 404,
  OBJECT_MISSING: 404,
  ARCHIVE_UNKNOWN: 404,
  PATH_UNKNOWN: 404,
  PEER_UNKNOWN: 404,
  PIPE_UNKNOWN: 404,
  SOURCE_MISSING: 404,
  REPO_EXISTS: 409,
  OBJECT_EXISTS: 409,
  TARGET_EXISTS: 409,
  SESSION_LOST: 409,
  PIPE_STOPPED: 409,
  LIMIT: 413,
  NET_BUSY: 429,
  REPO_FULL: 507,
};

/** The form of every error, for routes' schemas and the OpenAPI description. */
export const ERROR_SCHEMA = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message'],
      properties: {
        code: { type: 'string' },
        message: { type: 'string' },
        hint: { type: 'string' },
        subject: { type: 'string' },
      },
    },
  },
} as const;

export interface ErrorAnswer {
  readonly status: number;
  readonly body: {
    readonly error: {
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string;
      readonly subject?: string;
    };
  };
}

/** The answer for an error. */
export function errorAnswer(error: PenstockError): ErrorAnswer {
  const { code, hint, subject } = error;
  const message = code === 'INTERNAL' ? 'a defect; the log of the server has more' : error.message;
  const body = { error: { code, message, hint, ...(subject === undefined ? {} : { subject }) } };
  return { status: STATUSES[code] ?? 500, body };
}

/** What a machine that is not paired is told, whatever it asked for. */
export const STRANGER_ANSWER: ErrorAnswer = errorAnswer(
  new PenstockError('NET_REFUSED', 'this machine is not paired with yours'),
);

/** For `setErrorHandler`. */
export function answerError(
  log: Logger,
): (thrown: FastifyError, request: FastifyRequest, reply: FastifyReply) => FastifyReply {
  return (thrown, request, reply) => {
    const error = ofFastify(thrown) ?? toPenstockError(thrown);
    const { status, body } = errorAnswer(error);
    if (status === 500) {
      log.error(error.message, {
        code: error.code,
        method: request.method,
        route: request.routeOptions.url,
        stack: error.code === 'INTERNAL' ? error.stack : undefined,
      });
    }
    return reply.code(status).type('application/json; charset=utf-8').send(JSON.stringify(body));
  };
}

/** What the framework found wrong with a request. */
function ofFastify(thrown: FastifyError): PenstockError | undefined {
  if (thrown.validation !== undefined) return new PenstockError('FORMAT', thrown.message);
  const status = thrown.statusCode ?? 500;
  if (typeof thrown.code !== 'string' || !thrown.code.startsWith('FST_') || status >= 500) {
    return undefined;
  }
  const code = status === 413 ? 'LIMIT' : 'FORMAT';
  return new PenstockError(code, 'the request has no form that this route takes', {
    cause: thrown,
  });
}

/** For `setNotFoundHandler`: most likely the client is of a newer version. */
export function answerNotFound(_request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { body } = errorAnswer(
    new PenstockError('NOT_SUPPORTED', 'this version of the monitor has no such route'),
  );
  return reply.code(404).type('application/json; charset=utf-8').send(JSON.stringify(body));
}
