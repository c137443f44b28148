/**
 * `penstock pool status`: the volumes of a pool, and how full they are.
 */
import { EXIT } from '../../base/errors.ts';
import { findPool } from '../../mover/pools.ts';
import { listVolumes } from '../../mover/volume-records.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { poolRecord, showLostRecords, showVolumes } from '../render-media.ts';

export default async function run(invocation: Invocation<'pool status'>): Promise<number> {
  const { output, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const pool = await findPool(repository, positionals.pool);
    const { volumes, damaged } = await listVolumes(repository);
    const own = volumes.filter((volume) => volume.pool === pool.id);
    showVolumes(output, own, [pool]);
    showLostRecords(output, damaged);
    output.summary({ command: 'pool status', pool: poolRecord(pool, own) }, '');
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
