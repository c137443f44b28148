/**
 * `penstock key remove ID`: removes a passphrase.
 */
import { EXIT } from '../../base/errors.ts';
import { removeKey } from '../../mover/keys.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'key remove'>): Promise<number> {
  const { output, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const key = await removeKey(repository, positionals.id);
    const own = key === repository.slot ? ', the one that this command was run with' : '';
    output.summary({ command: 'key remove', key }, `removed key ${key}${own}`);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
