/**
 * `penstock cat ARCHIVE PATH`: writes a stored file to standard output, verified blob by blob.
 */

import { toDisplay } from '../../base/bytes.ts';
import { EXIT } from '../../base/errors.ts';
import { ENTRY_FLAG } from '../../format/entry.ts';
import { findFile, stretchesOf } from '../../mover/file-content.ts';
import { openArchive } from '../archive-list.ts';
import { withReader } from '../browse.ts';
import type { Invocation } from '../invocation.ts';

/** Holes are written as zeros from here, piece by piece. */
const ZEROS = new Uint8Array(256 * 1024);

export default async function run(invocation: Invocation<'cat'>): Promise<number> {
  const { positionals, output, signal } = invocation;
  // From here on standard output is the file's alone: what --json says goes to standard error.
  await output.writeBytes(new Uint8Array(0));
  return withReader(invocation, async (repository, { blobs }) => {
    const archive = await openArchive(invocation, repository, positionals.archive);
    const entry = findFile(blobs, archive.root, positionals.path);
    const incomplete = (entry.flags & ENTRY_FLAG.incomplete) !== 0;
    // Before the bytes, where a reader that goes away early does not hide it.
    if (incomplete) {
      output.problem(
        `${toDisplay(positionals.path)} could not be read whole when it was backed up`,
        {
          code: 'SOURCE_CHANGED',
          path: positionals.path,
        },
      );
    }
    for (const { bytes, length } of stretchesOf(blobs, entry)) {
      for (let left = length; left > 0; left -= ZEROS.length) {
        signal.throwIfAborted();
        await output.writeBytes(bytes ?? ZEROS.subarray(0, Math.min(left, ZEROS.length)));
        if (bytes !== undefined) break;
      }
    }
    output.summary({ command: 'cat', archive: archive.id, bytes: entry.size }, '');
    return EXIT.ok;
  });
}
