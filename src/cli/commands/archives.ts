/**
 * `penstock archives`: lists the archives, oldest first.
 */
import { EXIT } from '../../base/errors.ts';
import { archiveFacts, listSummaries } from '../archive-list.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { archiveRecord, archiveTable } from '../render.ts';

export default async function run(invocation: Invocation<'archives'>): Promise<number> {
  const { options, output } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { archives, damaged } = await listSummaries(invocation, repository);
    const shown = archives
      .filter(({ name }) => options.name === undefined || name === options.name)
      .map(archiveFacts);
    for (const archive of shown) output.entry(archiveRecord(archive));
    if (shown.length > 0) for (const line of archiveTable(shown)) output.line(line);
    else output.note(options.name === undefined ? 'no archives yet' : 'no archives of this name');
    for (const { message, code } of damaged) output.problem(message, { code });
    output.summary({ command: 'archives', archives: shown.length, damaged: damaged.length }, '');
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
