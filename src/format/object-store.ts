/**
 * Port: where the small objects of a repository live (records, index segments) and where its chunks
 * are listed. An object is created without ever overwriting another, read whole, listed, removed.
 * Names are `kind/name`. Implementations: directory-store.ts. The contract suite is
 * test/contract/object-store.ts.
 */

import type { ChunkMediaPlace } from './chunk-media.ts';

export const OBJECT_KINDS = [
  'repository',
  'keys',
  'archives',
  'pending',
  'chunks',
  'index',
  'maps',
  'leases',
  'condemned',
  'deleting',
  'verdicts',
] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];

export interface StoredObject {
  readonly name: string;
  readonly bytes: number;
  /** When it was created or last touched, by the store's clock, milliseconds since 1970. */
  readonly modifiedMs: number;
}

export interface ObjectStore {
  /** The place as the user names it. */
  readonly url: string;
  /** URL of the file and options of the chunk media for worker threads (format/chunk-media.ts). */
  readonly chunkMedia: ChunkMediaPlace;
  /** What is stored cannot be removed, by this client: then it is not tried where nobody asked. */
  readonly appendOnly?: boolean;
  /** How many objects are best read at the same time, where each takes a while; else one. */
  readonly readsAtOnce?: number;
  /** Creates what an empty repository needs. REPO_READ_ONLY, REPO_IO. */
  prepare(): Promise<void>;
  list(kind: ObjectKind): Promise<StoredObject[]>;
  /** All bytes; OBJECT_MISSING when there is none, LIMIT when it is longer than `bytesMax`. */
  read(kind: ObjectKind, name: string, bytesMax: number): Promise<Buffer>;
  /** Durably creates an object; false when the name is taken. */
  put(kind: ObjectKind, name: string, bytes: Uint8Array): Promise<boolean>;
  /** Removes an object; false when it was not there. */
  remove(kind: ObjectKind, name: string): Promise<boolean>;
  /** Gives an object a second name in another kind, atomically; false when it is gone. */
  publish(from: ObjectKind, to: ObjectKind, name: string): Promise<boolean>;
  /** Sets the time of an object to now by the store's clock; false when it is gone. */
  touch(kind: ObjectKind, name: string): Promise<boolean>;
  /** Now, by the store's clock. */
  nowMs(): Promise<number>;
  /** An open file of an object, to read parts of; -1 when the store has no files. */
  openFile(kind: ObjectKind, name: string): Promise<number>;
  /** Removes what interrupted writers left behind and nobody can still be writing. */
  sweep(olderThanMs: number): Promise<number>;
  /** What lies among the objects and is none, and folders that are missing; named for people. */
  foreign(): Promise<{ readonly foreign: readonly string[]; readonly missing: readonly string[] }>;
  close(): Promise<void>;
}
