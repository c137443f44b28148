/**
 * Repositories on another machine, as far as one machine can show it: a monitor on loopback, with which the
 * command line is paired, serves the repository from memory.
 *
 * Contract: each round has a monitor and a repository of its own; the monitor is ended with the round.
 */
import { join } from 'node:path';
import { type Command, runCommand } from './commands.ts';
import { childrenCpuSeconds, cpuSecondsOf } from './cost.ts';
import type { Figures } from './figures.ts';
import { penstockCommand } from './peers.ts';
import { renewFolder, sizeOfTree, touchMemory } from './places.ts';
import { startServer } from './server.ts';

const TITLE = 'remote: ';

/** Measures a first and a second backup, and a restore. */
export async function runRemote(
  source: string,
  folder: string,
  rounds: number,
  figures: Figures,
  say: (line: string) => void,
): Promise<void> {
  const sourceBytes = sizeOfTree(source).storedBytes;
  for (let round = 0; round < rounds; round++) {
    const work = renewFolder(join(folder, 'work'));
    const server = await startServer(work, '--repo', `main=${join(work, 'repository')}`);
    const state = join(work, 'client');
    try {
      const command = (...args: string[]): Command =>
        penstockCommand(
          ...[...args, '--quiet', '--state', state],
          ...['--repo', `penstock://${server.address}/main`],
        );
      await server.pair(state, '--repo', 'main', '--access', 'full');
      await runCommand(command('init'));
      for (const [what, args] of [
        ['first backup', ['backup', source]],
        ['second backup', ['backup', source]],
        ['restore', ['restore', 'latest', '--target', join(work, 'target')]],
      ] as const) {
        say(`${TITLE}${what}: penstock`);
        touchMemory(folder, sourceBytes);
        const cpuBefore = cpuSecondsOf(server.pid) + childrenCpuSeconds();
        const { elapsedMs, peakBytes } = await runCommand(command(...args));
        const cpuSeconds = cpuSecondsOf(server.pid) + childrenCpuSeconds() - cpuBefore;
        figures.add(`${TITLE}${what}`, 'penstock', 'cpu seconds', cpuSeconds);
        figures.add(`${TITLE}${what}`, 'penstock', 'ms', elapsedMs);
        figures.add(`${TITLE}${what}`, 'penstock', 'peak bytes', peakBytes);
      }
    } finally {
      await server.end();
      renewFolder(work);
    }
  }
}
