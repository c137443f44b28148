/**
 * What it costs to take a buffer to another machine: processor seconds per GB of both ends together, and
 * GB a second, of incompressible data through one pipe across loopback; beside it the same over as many
 * bare TLS connections between two threads, which nobody orders, acknowledges or lays into buffers.
 *
 *     node bench/pipe-network.ts [CONNECTIONS] [MIB_PER_BUFFER]
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { receiveStage, sendStage } from '../src/channel/net/controller.ts';
import { DataPort } from '../src/channel/net/data-port.ts';
import type { Identity } from '../src/channel/net/identity.ts';
import { clientTls, serverTls } from '../src/channel/net/pinned-tls.ts';
import { startPipe } from '../src/pipe/mod.ts';
import { identities } from '../test/agent-pair.ts';

const TOTAL_BYTES = 1.5e9;
const ROUNDS = 3;
const MIB = 2 ** 20;
/** Fills each buffer once with random bytes and sends it again and again. */
const HEAD = `import { randomFillSync } from 'node:crypto';
export default ({ count }) => ({ run(c) { const filled = new Set(); for (let i = 0; i < count; i++) {
  const b = c.allocBuf();
  if (!filled.has(b.index)) {
    filled.add(b.index);
    const bytes = b.payload();
    for (let at = 0; at < bytes.length; at += 4096) randomFillSync(bytes.subarray(at, at + 4096));
  }
  b.length = b.payloadCapacity; c.sendBuf(b); } } })`;
const TAIL = 'export default { process() {} }';
const code = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;

interface Cost {
  readonly bytesPerSecond: number;
  readonly cpuSecondsPerGb: number;
}

/** Measures from the first bytes that have arrived until all have. */
async function measure(
  bytes: number,
  begun: Promise<unknown>,
  done: Promise<unknown>,
): Promise<Cost> {
  await begun;
  const before = process.cpuUsage();
  const startMs = performance.now();
  await done;
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - startMs) / 1000;
  return {
    bytesPerSecond: bytes / seconds,
    cpuSecondsPerGb: (user + system) / 1e6 / (bytes / 1e9),
  };
}

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
      { name: 'tail', ordered: true, modules: [{ module: code(TAIL) }] },
    ],
  });
  port.register(common.id, async (connection) =>
    (await far.control('receive', connection)).includes(true),
  );
  const near = await startPipe({
    maxBuffers,
    payloadBytes,
    stages: [
      { name: 'head', modules: [{ module: code(HEAD), options: { count } }] },
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
  const cost = await measure(count * payloadBytes, begun(), Promise.all([near.done, far.done]));
  await port.close();
  return cost;
}

async function throughTls(links: number): Promise<Cost> {
  const [client, server] = await identities();
  const listening = createServer({ ...serverTls(server), noDelay: true });
  const begun = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  let received = 0;
  listening.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => {
      received += bytes.length;
      begun.resolve();
      if (received >= TOTAL_BYTES) done.resolve();
    });
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const sender = new Worker(new URL(import.meta.url), { workerData: { port, client, links } });
  const cost = await measure(TOTAL_BYTES, begun.promise, done.promise);
  await sender.terminate();
  listening.close();
  return cost;
}

function sendOverTls(port: number, client: Identity, links: number): void {
  const piece = randomBytes(256 * 1024);
  for (let i = 0; i < links; i++) {
    const socket = connect({ ...clientTls(client), host: '127.0.0.1', port });
    socket.on('error', () => {});
    const write = (): void => {
      while (socket.write(piece));
    };
    socket.on('drain', write);
    socket.once('secureConnect', write);
  }
}

if (isMainThread) {
  const links = Number(process.argv[2] ?? 2);
  const payloadBytes = Number(process.argv[3] ?? 1) * MIB;
  const best = (costs: Cost[]): Cost =>
    costs.reduce((a, b) => (a.cpuSecondsPerGb <= b.cpuSecondsPerGb ? a : b));
  const pipe: Cost[] = [];
  const tls: Cost[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    tls.push(await throughTls(links));
    pipe.push(await throughPipe(links, payloadBytes));
  }
  for (const [name, cost] of [
    [`bare TLS, ${links} connections`, best(tls)],
    [`one pipe, ${links} connections, buffers of ${payloadBytes / MIB} MiB`, best(pipe)],
  ] as const) {
    const rate = (cost.bytesPerSecond / 1e9).toFixed(2);
    console.log(`${name.padEnd(44)} ${rate} GB/s, ${cost.cpuSecondsPerGb.toFixed(2)} CPU s/GB`);
  }
} else {
  const { port, client, links } = workerData as { port: number; client: Identity; links: number };
  sendOverTls(port, client, links);
}
