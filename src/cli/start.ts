/**
 * Starts the command line (main.ts).
 *
 * Contract: runs the command that process.argv names and sets process.exitCode. It does not end the
 * process: that ends by itself once nothing is left to do, or by force after a grace (signals.ts).
 */
import { originalArguments } from './arguments.ts';
import { runCommandLine } from './run.ts';
import { endWithin } from './signals.ts';

/** @param launched by the launcher, as its child */
export async function start(launched: boolean): Promise<void> {
  if (launched) {
    const { openFiles } = await import('../host/mod.ts');
    openFiles().dieWithParent();
  }
  const exit = await runCommandLine({
    args: originalArguments(process.argv.slice(2), launched),
    environment: process.env,
    launched,
    stdout: process.stdout,
    stderr: process.stderr,
  });
  process.exitCode = exit;
  endWithin(exit);
}
