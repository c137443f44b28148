/**
 * `penstock pool list`: the pools of the repository.
 */
import { EXIT } from '../../base/errors.ts';
import { listPools } from '../../mover/pools.ts';
import { listVolumes } from '../../mover/volume-records.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { poolRecord, poolTable, showLostRecords } from '../render-media.ts';

export default async function run(invocation: Invocation<'pool list'>): Promise<number> {
  const { output } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { pools, damaged } = await listPools(repository);
    const { volumes, damaged: lost } = await listVolumes(repository);
    for (const pool of pools) output.entry(poolRecord(pool, volumes));
    if (!output.json) for (const line of poolTable(pools, volumes)) output.line(line);
    showLostRecords(output, [...damaged, ...lost]);
    output.summary({ command: 'pool list', pools: pools.length }, '');
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
