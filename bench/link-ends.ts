/**
 * The two ends of a pipe that only measures the link between them, in processes of their own:
 *
 *   link-ends.ts serve STATE ADDRESS               prints its port and fingerprint as a line of JSON
 *   link-ends.ts push STATE SERVER BYTES ADDRESS…  sends so many bytes, spread over these local addresses;
 *                                                  prints bytes a second, from the first until the last
 */
import type { Server } from '../src/channel/net/api-client.ts';
import { extendPipe } from '../src/channel/net/controller.ts';
import { openIdentity } from '../src/channel/net/identity.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { openClock } from '../src/host/mod.ts';
import { openLogger } from '../src/monitor/logger.ts';
import { createMonitor } from '../src/monitor/monitor.ts';
import { allowFarModule } from '../src/monitor/pipe-modules.ts';
import { FILL_MODULE, TAKE_MODULE } from './link-modules.ts';

const PAYLOAD_BYTES = 2 ** 20;
const BUFFERS = 12;
const POLL_MS = 2;

const [role, state = '', ...rest] = process.argv.slice(2);
if (role === 'serve') await serve(rest[0] ?? '');
else await push(JSON.parse(rest[0] ?? '') as Server, Number(rest[1]), rest.slice(2));

async function serve(address: string): Promise<void> {
  allowFarModule('take', { url: TAKE_MODULE, options: () => ({}) });
  const clock = openClock();
  const monitor = await createMonitor({
    stateDirectory: state,
    listen: [{ host: address, port: 0 }],
    repositories: new Map(),
    version: '0.0.0',
    clock,
    log: openLogger({ format: 'json', clock, write: (line) => process.stderr.write(`${line}\n`) }),
  });
  const { port, fingerprint } = monitor;
  process.stdout.write(`${JSON.stringify({ port, fingerprint })}\n`);
  process.once('SIGTERM', () => void monitor.close(0));
}

async function push(server: Server, bytes: number, localAddresses: string[]): Promise<void> {
  const count = Math.ceil(bytes / PAYLOAD_BYTES);
  const pipe = await extendPipe({
    identity: await openIdentity(new StateFolder(state)),
    server: { ...server, localAddresses },
    program: 'bench',
    flow: 'push',
    near: {
      maxBuffers: BUFFERS,
      payloadBytes: PAYLOAD_BYTES,
      stages: [{ name: 'fill', modules: [{ module: FILL_MODULE, options: { count } }] }],
    },
    far: { stages: [{ name: 'take', modules: [{ name: 'take' }] }] },
    ...(localAddresses.length === 0 ? {} : { links: localAddresses.length }),
  });
  // The first buffer opens the window; all others are counted.
  while (pipe.near.counter(0, 'send') === 0) await new Promise((go) => setTimeout(go, POLL_MS));
  const counted = pipe.near.counter(0, 'send');
  const startMs = performance.now();
  while (pipe.near.counter(0, 'send') < count) await new Promise((go) => setTimeout(go, POLL_MS));
  const seconds = (performance.now() - startMs) / 1000;
  await pipe.done;
  const bytesPerSecond = ((count - counted) * PAYLOAD_BYTES) / seconds;
  process.stdout.write(`${JSON.stringify({ bytesPerSecond })}\n`);
}
