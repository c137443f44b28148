/**
 * `penstock volume erase`: erases a volume that holds nothing that is needed, and forgets it.
 */
import { EXIT } from '../../base/errors.ts';
import { findVolume } from '../../mover/volume-find.ts';
import { eraseVolume } from '../../mover/volume-labelling.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'volume erase'>): Promise<number> {
  const { output, options, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const found = await findVolume(repository, positionals.volume);
    const erased = await eraseVolume(repository, found, options);
    const { name, volume } = found.record;
    const text = erased
      ? `volume ${name} is erased and forgotten`
      : `volume ${name} is forgotten; no medium was erased`;
    output.summary({ command: 'volume erase', volume, name, erased }, text);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
