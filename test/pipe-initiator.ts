/**
 * A program for tests that begins a pipe and is to be killed.
 *
 * Usage: pipe-initiator.ts STATE-FOLDER SERVER. Prints the name of the pipe.
 */
import type { Server } from '../src/channel/net/api-client.ts';
import { extendPipe } from '../src/channel/net/controller.ts';
import { openIdentity } from '../src/channel/net/identity.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { LOAD_MODULE, LOAD_WORDS } from './agent-load.ts';

const [folder = '', server = ''] = process.argv.slice(2);
const pipe = await extendPipe({
  identity: await openIdentity(new StateFolder(folder)),
  server: JSON.parse(server) as Server,
  program: 'test',
  flow: 'push',
  ...LOAD_WORDS,
  near: {
    maxBuffers: 4,
    payloadBytes: 10_000,
    stages: [{ name: 'near', modules: [{ module: LOAD_MODULE, options: { count: 1e6 } }] }],
  },
  far: { stages: [{ name: 'far', modules: [{ name: 'test-load', options: { slowMs: 5 } }] }] },
});
while (pipe.near.counter(0, 'send') < 5) await new Promise((resolve) => setTimeout(resolve, 5));
process.stdout.write(`${pipe.name}\n`);
await pipe.done.catch(() => {});
