/**
 * `penstock key list`: lists the passphrases of the repository.
 */
import { EXIT } from '../../base/errors.ts';
import { listKeys } from '../../mover/keys.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { keyRecord, keyTable } from '../render.ts';

export default async function run(invocation: Invocation<'key list'>): Promise<number> {
  const { output } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const { keys, foreign, damaged } = await listKeys(repository);
    const shown = keys.map(({ slot, label, madeBy }) => ({
      id: slot.slot,
      label,
      madeBy,
      createdMs: slot.createdMs,
      isCurrent: slot.slot === repository.slot,
    }));
    for (const key of shown) output.entry(keyRecord(key));
    if (!output.json) for (const line of keyTable(shown)) output.line(line);
    for (const { slot, error } of foreign) {
      const unknown = error.code === 'KEY_UNKNOWN';
      output.problem(
        unknown
          ? `key ${slot.slot} was made with a newer data key than this passphrase opens`
          : `key ${slot.slot} was not made by anybody who could open this repository`,
        {
          code: error.code,
          hint: unknown
            ? 'run `penstock key rotate` with a passphrase that opens the newest data key'
            : `it opens nothing; find out who put it there, and \`penstock key remove ${slot.slot}\``,
        },
      );
    }
    for (const { message, code } of damaged) output.problem(message, { code });
    const counts = { keys: shown.length, foreign: foreign.length, damaged: damaged.length };
    output.summary({ command: 'key list', ...counts }, '');
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
