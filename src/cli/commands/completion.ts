/**
 * `penstock completion SHELL`: writes the completion script of a shell.
 */
import { completionScript } from '../../options/completion.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(invocation: Invocation<'completion'>): Promise<number> {
  const { output, positionals } = invocation;
  await output.writeBytes(Buffer.from(completionScript(positionals.shell)));
  return 0;
}
