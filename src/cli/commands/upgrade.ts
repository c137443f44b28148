/**
 * `penstock upgrade`: brings a repository to the newest format; there is only one yet.
 *
 * Opening checks the feature words: a repository of a newer format ends there, with REPO_FEATURE.
 */
import { EXIT } from '../../base/errors.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';

const FORMAT_VERSION = 1;

export default async function run(invocation: Invocation<'upgrade'>): Promise<number> {
  const { options, output } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const record = { command: 'upgrade', format: FORMAT_VERSION, steps: 0, dryRun: options.dryRun };
    output.summary(record, `nothing to do: format ${FORMAT_VERSION} is the newest`);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
