/**
 * Tells the monitor of a state folder of the pipes that another process of the same user runs, so that `penstock
 * pipes` shows them and `pipe stop` stops them.
 *
 * Contract: nothing of the pipe waits for the monitor, and where none runs, or it ends, the pipe goes on. What
 * the pipe does is sent at once and then every second. Nothing here keeps the process alive.
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { type ByteString, toBytes } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import type { LineChannel } from '../channel/local/line-channel.ts';
import type { Pipe } from '../pipe/mod.ts';
import type { PipeFacts, PipeMeter } from './pipe-view.ts';
import { SOCKET_NAME } from './socket-name.ts';

/** Announces a pipe until it is over. `program` is what kind of program runs it. */
export async function announcePipe(
  stateDirectory: ByteString,
  pipe: Pipe,
  program: string,
  more: Pick<PipeFacts, 'programs'> = {},
): Promise<void> {
  const facts = { program, machine: hostname(), flow: flowOf(pipe), ...more };
  let meter: PipeMeter | undefined;
  let isOver = false;
  const over = pipe.done
    .catch(() => {})
    .finally(() => {
      isOver = true;
    });
  while (!isOver) {
    // What speaks with a monitor is loaded where there is one.
    if (existsSync(toBytes(`${stateDirectory}/${SOCKET_NAME}`))) {
      const { PipeMeter } = await import('./pipe-view.ts');
      meter ??= new PipeMeter(pipe, facts);
      await tell(stateDirectory, pipe, meter, over);
    }
    // A monitor that is started later, or anew, learns of it too.
    const again = new Promise<void>((resolve) => {
      setTimeout(resolve, LIMITS.announceRetryMs).unref();
    });
    await Promise.race([over, again]);
  }
}

/** Tells one monitor, until the pipe or the monitor ends. */
async function tell(
  stateDirectory: ByteString,
  pipe: Pipe,
  meter: PipeMeter,
  over: Promise<unknown>,
): Promise<void> {
  const { openMonitor } = await import('./local-requests.ts');
  const channel = await openMonitor(stateDirectory);
  if (channel === undefined) return;
  channel.socket.unref();
  channel.send({ type: 'register', view: meter.view() });
  const timer = setInterval(() => {
    meter.sample();
    channel.send({ view: meter.view() });
  }, LIMITS.pipeRateMs).unref();
  await Promise.race([over, listen(channel, pipe)]);
  clearInterval(timer);
  channel.close();
}

async function listen(channel: LineChannel, pipe: Pipe): Promise<void> {
  const { fromWireError } = await import('../channel/wire-error.ts');
  for (let line = await channel.next(); line !== undefined; line = await channel.next()) {
    const { stop } = line as { stop?: unknown };
    if (stop !== undefined) await pipe.stop(fromWireError(stop));
  }
}

function flowOf(pipe: Pipe): PipeFacts['flow'] {
  const names = pipe.status().stages.map(({ name }) => name);
  if (names.at(-1) === 'send') return 'push';
  return names[0] === 'receive' ? 'pull' : 'local';
}
