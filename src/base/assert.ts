/**
 * Assertions: a failed one is a defect of Penstock and ends the run (style rule 4).
 */

export class AssertionError extends Error {
  override readonly name: string = 'AssertionError';
}

/** Throws an AssertionError unless `condition` holds. The message names the relation that must hold. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(`assertion failed: ${message}`);
}

/** Returns `value`, which must not be null or undefined. */
export function must<T>(value: T | null | undefined, message: string): T {
  assert(value !== null && value !== undefined, message);
  return value;
}
