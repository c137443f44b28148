/**
 * `penstock diff A B`: what differs between two archives.
 */
import { EXIT } from '../../base/errors.ts';
import {
  type ArchiveDifference,
  compareArchives,
  type OnDiffDamage,
} from '../../mover/archive-diff.ts';
import { openArchive } from '../archive-list.ts';
import { kindName, Pace, shownPath, withReader } from '../browse.ts';
import type { Invocation } from '../invocation.ts';
import { type DifferenceFacts, differenceLine, differenceRecord } from '../render.ts';
import { plural } from '../render-summary.ts';

export default async function run(invocation: Invocation<'diff'>): Promise<number> {
  const { positionals, output } = invocation;
  return withReader(invocation, async (repository, { blobs }) => {
    const from = await openArchive(invocation, repository, positionals.from);
    const to = await openArchive(invocation, repository, positionals.to);
    const counts = { added: 0, removed: 0, modified: 0 };
    const pace = new Pace(invocation);
    let problems = 0;
    const onDamage: OnDiffDamage = ({ message, code, hint }, side) => {
      problems++;
      const id = (side === 'from' ? from : to).id.slice(0, 8);
      output.problem(`archive ${id} cannot be compared whole: ${message}`, { code, hint });
    };
    for (const difference of compareArchives(blobs, from.root, to.root, onDamage)) {
      const facts = toFacts(difference);
      if (output.json) output.entry(differenceRecord(facts));
      else output.line(differenceLine(facts));
      counts[facts.change]++;
      await pace.step();
    }
    const ids = { from: from.id, to: to.id };
    const text = `${plural(counts.added, 'path')} added, ${counts.removed} removed, ${counts.modified} modified`;
    output.summary({ command: 'diff', ...ids, ...counts, problems }, text);
    return EXIT.ok;
  });
}

function toFacts(difference: ArchiveDifference): DifferenceFacts {
  const { path, kind } = difference;
  return { ...difference, path: shownPath(path), kind: kindName(kind) };
}
