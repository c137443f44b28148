/**
 * What the walk of a backup is given, and what it tells the initiator.
 */
import type { ByteString } from '../base/bytes.ts';
import type { ErrorRecord } from '../base/errors.ts';
import type { KeyringRecord } from '../crypto/keyring.ts';
import type { IndexShare } from '../index/blob-index.ts';
import type { SessionTableShare } from '../index/session-table.ts';
import type { ManifestRoot } from './manifest-cursor.ts';
import type { SelectionOptions } from './selection.ts';

/** A directory on the way to, or at, a source. `children` undefined: everything below is taken. */
export interface SourceNode {
  readonly children?: ReadonlyMap<ByteString, SourceNode>;
}

export interface WalkOptions {
  readonly sources: SourceNode;
  readonly selection: SelectionOptions;
  readonly bases: readonly ManifestRoot[];
  readonly keyring: KeyringRecord;
  readonly index: IndexShare;
  readonly session: SessionTableShare;
  readonly media: { readonly module: string; readonly options: unknown };
  /** Now, milliseconds since 1970. */
  readonly startedMs: number;
}

/** What the walk tells the initiator when it has ended, and at a checkpoint. */
export interface WalkReport {
  readonly root: ManifestRoot;
  readonly owners: readonly (readonly [number, string])[];
  readonly groups: readonly (readonly [number, string])[];
}

/** A warning about one item. */
export interface WalkProblem {
  readonly path: ByteString;
  readonly error: ErrorRecord;
  readonly omitted: boolean;
}

/** A tree of sources from their absolute paths. */
export function sourceTree(paths: readonly ByteString[]): SourceNode {
  interface Growing {
    children?: Map<ByteString, Growing>;
  }
  const root: Growing = { children: new Map() };
  for (const path of paths) {
    let node = root;
    for (const name of path.split('/').filter((part) => part !== '')) {
      // A directory above was named as a source already: this path lies in it.
      if (node.children === undefined) break;
      const child = node.children.get(name) ?? { children: new Map() };
      node.children.set(name, child);
      node = child;
    }
    delete node.children;
  }
  return root as SourceNode;
}
