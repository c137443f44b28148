/**
 * Repositories on another machine, as far as one machine can show it: a monitor on loopback, with which the
 * command line is paired, serves the repository from memory.
 *
 * Contract: each round has a monitor and a repository of its own; the monitor is ended with the round.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Command, runCommand } from './commands.ts';
import type { Figures } from './figures.ts';
import { penstockCommand } from './peers.ts';
import { renewFolder } from './places.ts';

const TITLE = 'remote: ';

/** Measures a first and a second backup, and a restore. */
export async function runRemote(
  source: string,
  folder: string,
  rounds: number,
  figures: Figures,
  say: (line: string) => void,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const work = renewFolder(join(folder, 'work'));
    const server = await startServer(work);
    try {
      const command = (...args: string[]): Command =>
        penstockCommand(...args, '--repo', server.url, '--state', join(work, 'client'), '--quiet');
      await runCommand(await server.pairing(join(work, 'client')));
      await runCommand(command('init'));
      for (const [what, args] of [
        ['first backup', ['backup', source]],
        ['second backup', ['backup', source]],
        ['restore', ['restore', 'latest', '--target', join(work, 'target')]],
      ] as const) {
        say(`${TITLE}${what}: penstock`);
        const { elapsedMs, peakBytes } = await runCommand(command(...args));
        figures.add(`${TITLE}${what}`, 'penstock', 'ms', elapsedMs);
        figures.add(`${TITLE}${what}`, 'penstock', 'peak bytes', peakBytes);
      }
    } finally {
      await server.end();
      renewFolder(work);
    }
  }
}

interface Server {
  readonly url: string;
  /** The command that pairs a state folder with it. */
  pairing(state: string): Promise<Command>;
  end(): Promise<void>;
}

async function startServer(folder: string): Promise<Server> {
  const state = join(folder, 'server');
  const repository = join(folder, 'repository');
  const { program, args, environment } = penstockCommand(
    'serve',
    ...['--state', state, '--listen', '127.0.0.1:0', '--repo', `main=${repository}`, '--quiet'],
  );
  const child = spawn(program, args, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const address = await addressOf(child);
  return {
    url: `penstock://${address}/main`,
    pairing: async (client) => {
      const token = penstockCommand(
        ...['pair', 'token', '--state', state, '--repo', 'main', '--access', 'full'],
      );
      const text = (await runCommand(token)).output.trim().split('\n').at(-1) ?? '';
      return penstockCommand('pair', address, '--token', text, '--state', client);
    },
    end: async () => {
      process.off('exit', kill);
      if (child.exitCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** HOST:PORT, from the first line that it says. */
async function addressOf(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the monitor has no output');
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /https:\/\/(\S+)/.exec(line)?.[1];
    if (address !== undefined) return address;
  }
  throw new Error('the monitor ended before it listened');
}
