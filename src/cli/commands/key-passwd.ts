/**
 * `penstock key passwd`: replaces the passphrase with which the repository was opened.
 */
import { EXIT } from '../../base/errors.ts';
import { changePassphrase, listKeys } from '../../mover/keys.ts';
import type { Invocation } from '../invocation.ts';
import { madeBy, openRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'key passwd'>): Promise<number> {
  const { output, passphrases, repoUrl } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    // Tells an unencrypted repository before a passphrase is asked for.
    await listKeys(repository);
    const passphrase = await passphrases.additional(repoUrl);
    try {
      const key = await changePassphrase(repository, passphrase, madeBy());
      const record = { command: 'key passwd', key, removed: repository.slot };
      output.summary(record, `changed the passphrase: key ${key} replaces ${repository.slot}`);
      return EXIT.ok;
    } finally {
      passphrase.fill(0);
    }
  } finally {
    await repository.close();
  }
}
