/**
 * What it costs to take a buffer to another machine: processor seconds per GB of both ends together, and
 * GB a second, of incompressible data through one pipe across loopback; beside it the same over as many
 * bare TLS connections between two threads, which nobody orders, acknowledges or lays into buffers.
 *
 *     node bench/pipe-network.ts [CONNECTIONS] [MIB_PER_BUFFER]
 */
import { randomBytes } from 'node:crypto';
import { DataPort } from '../src/channel/net/data-port.ts';
import { receiveStage, sendStage } from '../src/channel/net/reach.ts';
import { startPipe } from '../src/pipe/mod.ts';
import { identities } from '../test/agent-pair.ts';
import { throughBareTls } from './bare-tls.ts';
import { type Cost, measureOwn } from './cost.ts';
import { FILL_MODULE, TAKE_MODULE } from './link-modules.ts';

const TOTAL_BYTES = 1.5e9;
const ROUNDS = 3;
const MIB = 2 ** 20;

async function throughPipe(links: number, payloadBytes: number): Promise<Cost> {
  const [client, server] = await identities();
  const port = await DataPort.open(['127.0.0.1'], 0);
  const common = { id: randomBytes(16).toString('hex'), secret: randomBytes(32) };
  const maxBuffers = 8;
  const count = Math.ceil(TOTAL_BYTES / payloadBytes);
  const far = await startPipe({
    maxBuffers,
    payloadBytes,
    stages: [
      receiveStage(1, { ...common, identity: { ...server, peerFingerprint: client.fingerprint } }),
      { name: 'tail', ordered: true, modules: [{ module: TAKE_MODULE }] },
    ],
  });
  port.register(common.id, async (connection) =>
    (await far.control('receive', connection)).includes(true),
  );
  const near = await startPipe({
    maxBuffers,
    payloadBytes,
    stages: [
      { name: 'head', modules: [{ module: FILL_MODULE, options: { count } }] },
      sendStage(1, {
        ...common,
        identity: { ...client, peerFingerprint: server.fingerprint },
        connect: { host: '127.0.0.1', port: port.port, links },
      }),
    ],
  });
  const begun = async (): Promise<void> => {
    while (far.counter(0, 'receive') === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const cost = await measureOwn(count * payloadBytes, begun(), Promise.all([near.done, far.done]));
  await port.close();
  return cost;
}

const links = Number(process.argv[2] ?? 2);
const payloadBytes = Number(process.argv[3] ?? 1) * MIB;
const best = (costs: Cost[]): Cost =>
  costs.reduce((a, b) => (a.cpuSecondsPerGb <= b.cpuSecondsPerGb ? a : b));
const pipe: Cost[] = [];
const tls: Cost[] = [];
for (let round = 0; round < ROUNDS; round++) {
  tls.push(await throughBareTls(links, TOTAL_BYTES));
  pipe.push(await throughPipe(links, payloadBytes));
}
for (const [name, cost] of [
  [`bare TLS, ${links} connections`, best(tls)],
  [`one pipe, ${links} connections, buffers of ${payloadBytes / MIB} MiB`, best(pipe)],
] as const) {
  const rate = (cost.bytesPerSecond / 1e9).toFixed(2);
  console.log(`${name.padEnd(44)} ${rate} GB/s, ${cost.cpuSecondsPerGb.toFixed(2)} CPU s/GB`);
}
