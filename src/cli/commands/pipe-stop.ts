/**
 * `penstock pipe stop`: has this machine's monitor stop a pipe.
 */
import { EXIT } from '../../base/errors.ts';
import { askStop } from '../../monitor/local-requests.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(invocation: Invocation<'pipe stop'>): Promise<number> {
  const { positionals, output, stateDirectory } = invocation;
  await askStop(stateDirectory, positionals.pipe);
  output.summary(
    { command: 'pipe stop', pipe: positionals.pipe },
    `${positionals.pipe} is stopped`,
  );
  return EXIT.ok;
}
