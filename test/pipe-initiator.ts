/**
 * A program for tests that begins a pipe, to be killed or to run to its end.
 *
 * Usage: pipe-initiator.ts STATE-FOLDER SERVER [COUNT]. Prints the name of the pipe; at the end how many
 * buffers arrived, in order and intact, or the code of what ended it.
 */
import type { PenstockError } from '../src/base/errors.ts';
import type { Server } from '../src/channel/net/api-client.ts';
import { extendPipe } from '../src/channel/net/controller.ts';
import { openIdentity } from '../src/channel/net/identity.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { LOAD_MODULE, LOAD_WORDS } from './agent-load.ts';

const [folder = '', server = '', count = '1000000'] = process.argv.slice(2);
let arrived = 0;
const pipe = await extendPipe({
  identity: await openIdentity(new StateFolder(folder)),
  server: JSON.parse(server) as Server,
  program: 'test',
  flow: 'push',
  ...LOAD_WORDS,
  near: {
    maxBuffers: 4,
    payloadBytes: 10_000,
    stages: [
      { name: 'near', modules: [{ module: LOAD_MODULE, options: { count: Number(count) } }] },
    ],
  },
  onFarPost: (_stage, _instance, message) => {
    arrived = (message as number[]).length;
  },
  far: {
    stages: [
      { name: 'far', modules: [{ name: 'test-load', options: { ordered: true, slowMs: 5 } }] },
    ],
  },
});
while (pipe.near.counter(0, 'send') < 5) await new Promise((resolve) => setTimeout(resolve, 5));
process.stdout.write(`${pipe.name}\n`);
const ended = await pipe.done.then(
  () => arrived,
  (error: PenstockError) => error.code,
);
process.stdout.write(`${ended}\n`);
