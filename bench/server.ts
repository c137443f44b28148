/**
 * A monitor on loopback for the benches, in a process of its own, and clients that are paired with it.
 *
 * Contract: it ends with `end`, and with this process however that ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { runCommand } from './commands.ts';
import { penstockCommand } from './peers.ts';

export interface Server {
  /** HOST:PORT */
  readonly address: string;
  readonly pid: number;
  /** Pairs a client's state folder with it; `words` say what the client may do. */
  pair(state: string, ...words: string[]): Promise<void>;
  end(): Promise<void>;
}

/** Starts one whose state lies below `folder`, with further words of `penstock serve`. */
export async function startServer(folder: string, ...words: string[]): Promise<Server> {
  const state = join(folder, 'server');
  const { program, args, environment } = penstockCommand(
    ...['serve', '--state', state, '--listen', '127.0.0.1:0', '--quiet'],
    ...words,
  );
  const child = spawn(program, args, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const end = endsWithUs(child);
  const address = await addressOf(child);
  return {
    address,
    pid: child.pid ?? 0,
    pair: async (client, ...granted) => {
      const token = await runCommand(
        penstockCommand('pair', 'token', '--state', state, ...granted),
      );
      const text = token.output.trim().split('\n').at(-1) ?? '';
      await runCommand(penstockCommand('pair', address, '--token', text, '--state', client));
    },
    end,
  };
}

/** Ends a process with this one at the latest; what it gives ends it before. */
export function endsWithUs(child: ChildProcess): () => Promise<void> {
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  return async () => {
    process.off('exit', kill);
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
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
