/**
 * `penstock forget`: removes archives by keep rules, or those that are named.
 */
import { EXIT } from '../../base/errors.ts';
import { type ForgetResult, type ForgetVerdict, forget } from '../../mover/forget.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import {
  plural,
  pruneLines,
  type Summary,
  type VerdictFacts,
  verdictRecord,
  verdictTable,
} from '../render-summary.ts';
import { pruneNow } from './prune.ts';

export default async function run(invocation: Invocation<'forget'>): Promise<number> {
  const { options, output, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly } = options;
    const result = await forget(repository, {
      ids: positionals.archives,
      rules: {
        keepLast,
        keepHourly,
        keepDaily,
        keepWeekly,
        keepMonthly,
        keepYearly,
        keepWithinMs: options.keepWithinMs,
      },
      name: options.name,
      timeZone: new Intl.DateTimeFormat().resolvedOptions().timeZone,
      dryRun: options.dryRun,
    });
    show(invocation, result);
    const summary = forgetSummary(result, options.dryRun);
    if (options.prune && !options.dryRun) {
      const facts = { ...(await pruneNow(invocation, repository)), isDryRun: false };
      output.summary(
        { ...summary[0], prune: facts },
        [summary[1], ...pruneLines(facts)].join('\n'),
      );
    } else output.summary(...summary);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}

function show(
  { output }: Invocation<'forget'>,
  { verdicts, damaged, refused }: ForgetResult,
): void {
  const facts = verdicts.map(toFacts);
  for (const verdict of facts) output.entry(verdictRecord(verdict));
  if (facts.length > 0) for (const line of verdictTable(facts)) output.line(line);
  for (const id of refused) {
    output.problem(`archive ${id.slice(0, 8)} is protected and was not removed`);
  }
  for (const { message, code, subject } of damaged) {
    const id = subject?.replace('archives/', '').slice(0, 8) ?? '';
    const hint = `no rule can judge it; \`penstock forget ${id}\` removes it`;
    output.problem(message, { code, hint });
  }
}

function toFacts({ id, archive, isKept, reasons }: ForgetVerdict): VerdictFacts {
  return {
    archive: {
      id,
      timeMs: archive?.startedMs ?? 0,
      name: archive?.name ?? '(damaged)',
      host: archive?.host ?? '',
      files: archive?.statistics.files ?? 0,
      bytes: archive?.statistics.bytes ?? 0,
      paths: archive?.paths ?? [],
      isPartial: archive?.partial ?? false,
    },
    isKept,
    reasons,
  };
}

function forgetSummary({ verdicts }: ForgetResult, dryRun: boolean): Summary {
  const removed = verdicts.filter((one) => !one.isKept).length;
  const kept = verdicts.length - removed;
  const did = dryRun ? 'dry run, nothing removed: would remove' : 'removed';
  const text = `${did} ${plural(removed, 'archive')}, ${kept} kept`;
  return [{ command: 'forget', removed, kept, dryRun }, text];
}
