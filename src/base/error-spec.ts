/**
 * What a row of the table of errors (errors.ts) says.
 */

export interface ErrorSpec {
  /** Exit status of a command that ends with this error. */
  readonly exit: number;
  /** Whether the same call may succeed when it is made again. */
  readonly retryable: boolean;
  /** What it means, for docs/errors.md. */
  readonly meaning: string;
  /** What to do, printed after the message. */
  readonly hint: string;
}

export const spec = (
  exit: number,
  retryable: boolean,
  meaning: string,
  hint: string,
): ErrorSpec => ({
  exit,
  retryable,
  meaning,
  hint,
});
