/**
 * A store that can only be read: for repositories that a newer version has marked so.
 */
import type { PenstockError } from '../base/errors.ts';
import type { ObjectStore } from '../format/object-store.ts';

/** The store, of which every change is refused with `reason`. */
export function readOnlyStore(store: ObjectStore, reason: PenstockError): ObjectStore {
  const refuse = (): Promise<never> => Promise.reject(reason);
  return {
    url: store.url,
    chunkMedia: store.chunkMedia,
    prepare: refuse,
    list: (kind) => store.list(kind),
    read: (kind, name, bytesMax) => store.read(kind, name, bytesMax),
    put: refuse,
    remove: refuse,
    publish: refuse,
    touch: refuse,
    nowMs: () => store.nowMs(),
    openFile: (kind, name) => store.openFile(kind, name),
    sweep: refuse,
    foreign: () => store.foreign(),
    close: () => store.close(),
  };
}
