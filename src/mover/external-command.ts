/**
 * External commands as modules of a pipe of one's own.
 */
import type { ExecOptions } from '../modules/exec.ts';
import type { ModuleSpec } from '../pipe/mod.ts';
import { moduleFile } from './module-file.ts';

/**
 * A module that is an external command (modules/exec.ts): its standard input gets what reaches the stage,
 * its standard output is what leaves it. The first module of its stage; a stage that is no tail declares
 * that it `allocates`.
 */
export function externalCommand(
  command: string,
  args: readonly string[] = [],
  more: Omit<ExecOptions, 'command' | 'args'> = {},
): ModuleSpec {
  return { module: moduleFile('exec'), options: { ...more, command, args } satisfies ExecOptions };
}
