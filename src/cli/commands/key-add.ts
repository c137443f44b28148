/**
 * `penstock key add`: adds a passphrase.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { addKey, listKeys } from '../../mover/keys.ts';
import type { Invocation } from '../invocation.ts';
import { madeBy, openRepositoryOf } from '../open.ts';

export default async function run(invocation: Invocation<'key add'>): Promise<number> {
  const { options, output, passphrases, repoUrl } = invocation;
  const label = options.label ?? '';
  if (Buffer.byteLength(label) > LIMITS.keyLabelBytesMax) {
    throw new PenstockError('USAGE', `the label is longer than ${LIMITS.keyLabelBytesMax} bytes`);
  }
  const repository = await openRepositoryOf(invocation);
  try {
    // Tells an unencrypted repository before a passphrase is asked for.
    await listKeys(repository);
    const passphrase = await passphrases.additional(repoUrl);
    try {
      const key = await addKey(repository, passphrase, { label, madeBy: madeBy() });
      output.summary({ command: 'key add', key }, `added key ${key}`);
      return EXIT.ok;
    } finally {
      passphrase.fill(0);
    }
  } finally {
    await repository.close();
  }
}
