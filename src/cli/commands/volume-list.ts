/**
 * `penstock volume list`: the volumes of the repository.
 */
import { EXIT } from '../../base/errors.ts';
import { findPool, listPools } from '../../mover/pools.ts';
import { listVolumes } from '../../mover/volume-records.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { showVolumes } from '../render-media.ts';

export default async function run(invocation: Invocation<'volume list'>): Promise<number> {
  const { output, options } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { volumes } = await listVolumes(repository);
    const pools =
      options.pool === undefined
        ? (await listPools(repository)).pools
        : [await findPool(repository, options.pool)];
    const ids = new Set(pools.map(({ id }) => id));
    const shown = volumes.filter(({ pool }) => options.pool === undefined || ids.has(pool));
    showVolumes(output, shown, pools);
    output.summary({ command: 'volume list', volumes: shown.length }, '');
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
