/**
 * `penstock key rotate`: a new data key for what is written from now on.
 */
import { EXIT } from '../../base/errors.ts';
import { rotateKeys } from '../../mover/keys.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'key rotate'>): Promise<number> {
  const { output } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const before = repository.keyring.newest.number;
    const { number } = (await rotateKeys(repository)).keyring.newest;
    const record = { command: 'key rotate', dataKey: number, completed: number === before };
    const text =
      number === before
        ? `completed a rotation that was interrupted: data key ${number} is used from now on`
        : `data key ${number} is used from now on; all passphrases stay`;
    output.summary(record, text);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
