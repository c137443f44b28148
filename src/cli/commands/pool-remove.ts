/**
 * `penstock pool remove`: forgets a pool that holds nothing that is needed.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { findPool, removePool } from '../../mover/pools.ts';
import { dropVolume, listVolumes } from '../../mover/volume-records.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'pool remove'>): Promise<number> {
  const { output, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const pool = await findPool(repository, positionals.pool);
    const { volumes } = await listVolumes(repository);
    const own = volumes.filter((volume) => volume.pool === pool.id);
    const chunks = own.reduce((sum, volume) => sum + volume.chunks.length, 0);
    if (chunks > 0)
      throw new PenstockError('POOL_USED', `pool ${pool.name} holds ${chunks} chunks of archives`);
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
