/**
 * `penstock init`: makes an empty repository.
 */
import { EXIT } from '../../base/errors.ts';
import type { Invocation } from '../invocation.ts';
import { makeRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'init'>): Promise<number> {
  const encrypted = !invocation.options.noEncryption;
  const repository = await makeRepositoryOf(invocation, encrypted);
  try {
    invocation.output.summary(
      { command: 'init', repository: repository.settings.id, encrypted },
      '',
    );
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
