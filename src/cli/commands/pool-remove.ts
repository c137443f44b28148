/**
 * `penstock pool remove`: forgets a pool that holds nothing that is needed.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { findPool, removePool } from '../../mover/pools.ts';
import { dropVolume, listVolumes } from '../../mover/volume-records.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { plural } from '../render-summary.ts';

export default async function run(invocation: Invocation<'pool remove'>): Promise<number> {
  const { output, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const pool = await findPool(repository, positionals.pool);
    const { volumes, damaged } = await listVolumes(repository);
    // What it tells of may be the only copy of something, on a volume of this pool.
    const unread = damaged[0]?.error;
    if (unread !== undefined)
      throw new PenstockError(unread.code, `pool ${pool.name} may hold chunks: ${unread.message}`, {
        cause: unread,
        hint: 'run `penstock catalog rebuild`, which makes the record again',
      });
    const own = volumes.filter((volume) => volume.pool === pool.id);
    const chunks = own.reduce((sum, volume) => sum + volume.chunks.length, 0);
    if (chunks > 0)
      throw new PenstockError('POOL_USED', `pool ${pool.name} holds ${plural(chunks, 'chunk')}`);
    for (const { volume } of own) await dropVolume(repository, volume);
    await removePool(repository, pool);
    output.summary(
      { command: 'pool remove', pool: pool.name, volumes: own.length },
      `pool ${pool.name} is forgotten; its media are as they were`,
    );
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
