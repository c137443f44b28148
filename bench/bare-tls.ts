/**
 * What TLS costs alone: random bytes over some connections between two threads, which nobody orders,
 * acknowledges or lays into buffers.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import type { Identity } from '../src/channel/net/identity.ts';
import { clientTls, serverTls } from '../src/channel/net/pinned-tls.ts';
import { identities } from '../test/agent-pair.ts';
import { type Cost, measureOwn } from './cost.ts';

interface Sender {
  readonly bareTlsPort: number;
  readonly client: Identity;
  readonly connections: number;
}

/** Sends so many bytes over so many connections across loopback; the cost of both ends together. */
export async function throughBareTls(connections: number, bytes: number): Promise<Cost> {
  const [client, server] = await identities();
  const listening = createServer({ ...serverTls(server), noDelay: true });
  const begun = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  let received = 0;
  listening.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    socket.on('data', (piece: Buffer) => {
      received += piece.length;
      begun.resolve();
      if (received >= bytes) done.resolve();
    });
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const data: Sender = { bareTlsPort: port, client, connections };
  const sender = new Worker(new URL(import.meta.url), { workerData: data });
  const cost = await measureOwn(bytes, begun.promise, done.promise);
  await sender.terminate();
  listening.close();
  return cost;
}

function send({ bareTlsPort: port, client, connections }: Sender): void {
  const piece = randomBytes(256 * 1024);
  for (let i = 0; i < connections; i++) {
    const socket = connect({ ...clientTls(client), host: '127.0.0.1', port });
    socket.on('error', () => {});
    const write = (): void => {
      while (socket.write(piece));
    };
    socket.on('drain', write);
    socket.once('secureConnect', write);
  }
}

if (!isMainThread && (workerData as Partial<Sender> | null)?.bareTlsPort !== undefined) {
  send(workerData as Sender);
}
