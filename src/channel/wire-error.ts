/**
 * How an error is told to another machine or process: without what only concerns this one. What comes is
 * not believed: codes are known ones, texts are shortened.
 */
import { ERRORS, type ErrorCode, PenstockError } from '../base/errors.ts';

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

const MESSAGE_LENGTH_MAX = 2000;
const HINT_LENGTH_MAX = 500;

export function toWireError({ code, message, hint }: PenstockError): WireError {
  if (code === 'INTERNAL') return { code, message: 'a defect; the log there has more' };
  return { code, message, hint };
}

/** What the other side says of its error; who says it is named in front, if it is given. */
export function fromWireError(error: unknown, from?: string): PenstockError {
  const { code, message, hint } = (error ?? {}) as { [field: string]: unknown };
  const known = typeof code === 'string' && Object.hasOwn(ERRORS, code);
  const said = typeof message === 'string' ? message : 'it gave no reason';
  const text = said.slice(0, MESSAGE_LENGTH_MAX);
  return new PenstockError(
    known ? (code as ErrorCode) : 'PIPE_FAILED',
    from === undefined ? text : `${from}: ${text}`,
    typeof hint === 'string' ? { hint: hint.slice(0, HINT_LENGTH_MAX) } : {},
  );
}
