/**
 * What a backup begins with: the tree of directories that lead to its sources.
 */
import type { ByteString } from '../base/bytes.ts';

/** A directory on the way to, or at, a source. `children` undefined: everything below is taken. */
export interface SourceNode {
  readonly children?: ReadonlyMap<ByteString, SourceNode>;
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

/** The absolute path of an entry of a directory. */
export function childPath(directory: ByteString, name: ByteString): ByteString {
  return directory === '/' ? `/${name}` : `${directory}/${name}`;
}
