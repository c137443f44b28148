/**
 * `penstock volume list`: the volumes of the repository.
 */
import { EXIT } from '../../base/errors.ts';
import { findPool, listPools } from '../../mover/pools.ts';
import { listVolumes } from '../../mover/volume-records.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { showLostRecords, showVolumes } from '../render-media.ts';

export default async function run(invocation: Invocation<'volume list'>): Promise<number> {
  const { output, options } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { volumes, damaged } = await listVolumes(repository);
    const { pools: all, damaged: lost } = await listPools(repository);
    const { pool } = options;
    const pools = pool === undefined ? all : [await findPool(repository, pool)];
    const ids = new Set(pools.map(({ id }) => id));
    const shown = volumes.filter((one) => pool === undefined || ids.has(one.pool));
    showVolumes(output, shown, pools);
    showLostRecords(output, [...damaged, ...lost]);
    output.summary({ command: 'volume list', volumes: shown.length }, '');
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
