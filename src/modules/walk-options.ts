/**
 * What the walk of a backup is given, and what it tells the initiator.
 */
import type { KeyringRecord } from '../crypto/keyring.ts';
import type { ChunkMediaPlace } from '../format/chunk-media.ts';
import type { IndexShare } from '../index/blob-index.ts';
import type { SessionTableShare } from '../index/session-table.ts';
import type { ManifestRoot } from './manifest-cursor.ts';
import type { ScanOptions } from './scan.ts';

export interface WalkOptions {
  readonly bases: readonly ManifestRoot[];
  readonly keyring: KeyringRecord;
  readonly index: IndexShare;
  readonly session: SessionTableShare;
  readonly media: ChunkMediaPlace;
  /** Now, milliseconds since 1970. */
  readonly startedMs: number;
  /** Scans in the same thread; by default the stage before does. */
  readonly scan?: ScanOptions;
}

/** What the walk tells the initiator when it has ended, and at a checkpoint. */
export interface WalkReport {
  readonly root: ManifestRoot;
  readonly owners: readonly (readonly [number, string])[];
  readonly groups: readonly (readonly [number, string])[];
}
