/**
 * A store that holds nothing and takes nothing: what a dry run works against where no repository is
 * yet. Its chunk media (the default export) has no chunks.
 */
import { codeFile } from '../base/code-file.ts';
import { PenstockError } from '../base/errors.ts';
import type { ChunkMedia } from '../format/chunk-media.ts';
import type { ObjectStore } from '../format/object-store.ts';

export function openEmptyStore(url: string, nowMs: () => number): ObjectStore {
  const refuse = async (): Promise<never> => {
    throw new PenstockError('REPO_READ_ONLY', `nothing is stored at ${url} in a dry run`);
  };
  return {
    url,
    chunkMedia: { module: codeFile('media/empty-store').href, options: undefined },
    prepare: async () => undefined,
    list: async () => [],
    read: async (kind, name) => {
      throw new PenstockError('OBJECT_MISSING', `there is no ${kind}/${name}`);
    },
    put: refuse,
    remove: async () => false,
    publish: refuse,
    touch: async () => true,
    nowMs: async () => nowMs(),
    openFile: async () => -1,
    foreign: async () => ({ foreign: [], missing: [] }),
    sweep: async () => 0,
    close: async () => undefined,
  };
}

export default function openNoChunks(): ChunkMedia {
  const missing = (id: string): never => {
    throw new PenstockError('OBJECT_MISSING', `there is no chunk ${id}`);
  };
  return { create: missing, open: missing, close: () => undefined };
}
