/**
 * Reading many small objects one after the other from a store that is far away: while one is looked at
 * the next ones are on their way.
 *
 * Contract: results come in the order of the names, each as if it had been read just then; an error
 * is thrown by the `take` of its object. A near store is read one object at a time, so that no more
 * than one is in memory.
 */
import type { ObjectKind, ObjectStore } from '../format/object-store.ts';

/** An object that is being read. */
export interface ObjectRead {
  readonly name: string;
  /** Its bytes. What `ObjectStore.read` throws. */
  take(): Promise<Buffer>;
}

/** Reads objects of a kind in turn. */
export function* readAhead(
  store: ObjectStore,
  kind: ObjectKind,
  names: readonly string[],
  bytesMax: number,
): Generator<ObjectRead> {
  const ahead = store.readsAtOnce ?? 0;
  const started = new Map<string, Promise<Buffer>>();
  const begin = (name: string): Promise<Buffer> => {
    const reading = store.read(kind, name, bytesMax);
    // Told to whoever takes it; without a handler here the process would end.
    reading.catch(() => undefined);
    return reading;
  };
  for (const [i, name] of names.entries()) {
    for (const next of names.slice(i, i + ahead))
      if (!started.has(next)) started.set(next, begin(next));
    const reading = started.get(name);
    started.delete(name);
    yield { name, take: () => reading ?? begin(name) };
  }
}
