/**
 * `penstock prune`: gives back the space of data that no archive needs.
 */
import { EXIT } from '../../base/errors.ts';
import { prune } from '../../mover/prune.ts';
import type { Repository } from '../../mover/repository.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { type PruneFacts, pruneSummary } from '../render-summary.ts';
import { programVersion } from '../version.ts';

export default async function run(invocation: Invocation<'prune'>): Promise<number> {
  const { options, output } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const facts = await pruneNow(invocation, repository);
    output.summary(...pruneSummary({ ...facts, isDryRun: options.dryRun }));
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}

/** Prunes as an invocation says; damage becomes warnings. */
export async function pruneNow(
  { options, output, signal }: Invocation<'prune'> | Invocation<'forget'>,
  repository: Repository,
): Promise<Omit<PruneFacts, 'isDryRun'>> {
  const startedMs = output.clockMs();
  output.progress.start('pruning');
  const result = await prune(repository, {
    graceMs: options.graceMs,
    maxUnusedPercent: options.maxUnusedPercent,
    dryRun: options.dryRun,
    writer: `penstock ${programVersion()}`,
    signal,
    onProblem: ({ message, code, hint }) => output.problem(message, { code, hint }),
    onProgress: (bytesDone, bytesTotal) => output.progress.update({ bytesDone, bytesTotal }),
  });
  output.progress.finish();
  return { ...result, elapsedMs: output.clockMs() - startedMs };
}
