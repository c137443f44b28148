/**
 * `penstock ls ARCHIVE [PATH]`: lists what an archive contains.
 */
import { EXIT } from '../../base/errors.ts';
import { ManifestDamage } from '../../mover/manifest-damage.ts';
import { listEntries } from '../../mover/manifest-list.ts';
import { openArchive } from '../archive-list.ts';
import { entryFacts, namesOf, Pace, shownPath, withReader } from '../browse.ts';
import type { Invocation } from '../invocation.ts';
import { entryLine, entryRecord, LongListing } from '../render.ts';

export default async function run(invocation: Invocation<'ls'>): Promise<number> {
  const { options, positionals, output } = invocation;
  return withReader(invocation, async (repository, { blobs }) => {
    const archive = await openArchive(invocation, repository, positionals.archive);
    const names = namesOf(archive);
    const long = options.long ? new LongListing() : undefined;
    const pace = new Pace(invocation);
    const request = { path: positionals.path ?? '', recursive: options.recursive };
    let entries = 0;
    let bytes = 0;
    let problems = 0;
    const damage = new ManifestDamage(({ message, code, hint }, path) => {
      problems++;
      output.problem(message, { code, path: shownPath(path), hint });
    });
    for (const { entry, path } of listEntries(blobs, archive.root, request, damage.note)) {
      const facts = entryFacts(entry, path, names);
      if (output.json) output.entry(entryRecord(facts));
      else output.line(long === undefined ? entryLine(facts) : long.line(facts));
      entries++;
      bytes += facts.bytes;
      await pace.step();
    }
    output.summary({ command: 'ls', archive: archive.id, entries, bytes, problems }, '');
    return EXIT.ok;
  });
}
