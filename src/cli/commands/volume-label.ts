/**
 * `penstock volume label`: labels a medium, so that a pool can use it.
 */
import { EXIT } from '../../base/errors.ts';
import { labelMedium } from '../../mover/volume-labelling.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { volumeRecord } from '../render-media.ts';

export default async function run(invocation: Invocation<'volume label'>): Promise<number> {
  const { output, options, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { name } = positionals;
    const labelled = await labelMedium(repository, { ...options, name });
    const { pool, record, replaced } = labelled;
    const instead = replaced === undefined ? '' : `, in the place of ${replaced}`;
    output.summary(
      {
        command: 'volume label',
        volume: volumeRecord(record, pool.name),
        ...(replaced === undefined ? {} : { replaced }),
      },
      `volume ${name} (${record.volume.slice(0, 8)}) of pool ${pool.name} is labelled${instead}`,
    );
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
