/**
 * `penstock pool add`: a pool of volumes for the repository.
 */
import { toDisplay } from '../../base/bytes.ts';
import { EXIT } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { addPool, leastBlockBytes } from '../../mover/pools.ts';
import { absolutePath } from '../absolute-path.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { poolRecord } from '../render-media.ts';

/** An interrupted backup goes on from the last chunk: a volume has room for so many at least. */
const CHUNKS_OF_A_VOLUME = 16;

export default async function run(invocation: Invocation<'pool add'>): Promise<number> {
  const { output, options, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { kind, volumeBytes, markBytes, logPlace, logEntries } = options;
    const { syncBytes, bufferBytes } = options;
    const blockBytes = options.blockBytes ?? leastBlockBytes(repository);
    const share = Math.floor(volumeBytes / CHUNKS_OF_A_VOLUME);
    const chunkBytes =
      options.chunkBytes ?? Math.max(blockBytes, Math.min(share, LIMITS.volumeChunkBytesDefault));
    const pool = await addPool(repository, {
      name: positionals.pool,
      kind,
      path: absolutePath(options.path),
      volumeBytes,
      blockBytes,
      chunkBytes,
      markBytes,
      ...(syncBytes === undefined ? {} : { syncBytes }),
      ...(bufferBytes === undefined ? {} : { bufferBytes }),
      logPlace,
      logEntries,
    });
    const text = `pool ${pool.name} is made; \`penstock backup --pool ${pool.name}\` writes to ${toDisplay(pool.path)}`;
    output.summary({ command: 'pool add', pool: poolRecord(pool, []) }, text);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
