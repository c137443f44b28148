/**
 * Two halves of a pipe in one process, each with its agents, and a proxy between
 * them: what the tests of agents use before any daemon comes in.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataPort } from '../src/channel/net/data-port.ts';
import { type Identity, openIdentity } from '../src/channel/net/identity.ts';
import { type LinkCipher, TAG_BYTES } from '../src/channel/net/link-cipher.ts';
import type { HandOver, LinksOptions } from '../src/channel/net/links.ts';
import { shareRate } from '../src/channel/net/rate-limit.ts';
import type { SendOptions } from '../src/channel/net/send.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { type Pipe, startPipe } from '../src/pipe/mod.ts';
import { LOAD_MODULE, LOAD_WORDS, type LoadOptions } from './agent-load.ts';
import { type LinkFault, LinkProxy } from './link-proxy.ts';

const SEND = new URL('../src/channel/net/send.ts', import.meta.url);
const RECEIVE = new URL('../src/channel/net/receive.ts', import.meta.url);

let made: Promise<readonly [Identity, Identity]> | undefined;

/** Two identities, made once a process. */
export function identities(): Promise<readonly [Identity, Identity]> {
  made ??= Promise.all([newIdentity(), newIdentity()]);
  return made;
}

async function newIdentity(): Promise<Identity> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-identity-'));
  try {
    return await openIdentity(new StateFolder(folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What a peer with these keys would send: a message with its tag. */
export function sealed({ sealer }: LinkCipher, bytes: Uint8Array): Buffer {
  const made = Buffer.alloc(bytes.length + TAG_BYTES);
  sealer.begin();
  sealer.update(bytes, 0, bytes.length, made, 0);
  sealer.end(made, bytes.length);
  return made;
}

export interface PairOptions {
  readonly count: number;
  readonly seed?: number;
  readonly heads?: number;
  readonly agents?: number;
  readonly links?: number;
  readonly ordered?: boolean;
  /** Who connects: with push the sender, with pull the receiver. */
  readonly flow?: 'push' | 'pull';
  readonly nearBuffers?: number;
  readonly farBuffers?: number;
  readonly payloadBytes?: number;
  readonly lostMs?: number;
  readonly bytesPerSecond?: number;
  readonly localAddresses?: readonly string[];
  readonly head?: Partial<LoadOptions>;
  readonly tail?: Partial<LoadOptions>;
  /** The receiving agent and the tail are one stage beside the event loop of the test, over one connection. */
  readonly beside?: boolean;
  /** What happens to each connection. */
  readonly onConnect?: LinkFault;
  /** Of the side that connects. */
  readonly wrong?: Partial<LinksOptions>;
}

export interface Pair {
  readonly near: Pipe;
  readonly far: Pipe;
  readonly proxy: LinkProxy;
  readonly port: DataPort;
  readonly id: string;
  readonly secret: Uint8Array;
  /** Numbers that have arrived, sorted. */
  arrived(): number[];
  close(): Promise<void>;
}

export async function startPair(options: PairOptions): Promise<Pair> {
  const { agents = 1, links = 2, ordered = false, flow = 'push', count, heads = 1 } = options;
  const port = await DataPort.open(['127.0.0.1'], 0);
  const proxy = await LinkProxy.open(port.port);
  proxy.onConnect = options.onConnect;
  const id = randomBytes(16).toString('hex');
  const [secret, { lostMs }] = [randomBytes(32), options];
  const accepting = { id, secret, ...LOAD_WORDS, ...(lostMs === undefined ? {} : { lostMs }) };
  const connecting = {
    ...accepting,
    connect: {
      host: '127.0.0.1',
      port: proxy.port,
      links,
      ...(options.localAddresses === undefined ? {} : { localAddresses: options.localAddresses }),
    },
    ...options.wrong,
  };
  const seen: number[] = [];
  const payloadBytes = options.payloadBytes ?? 20_000;
  const { beside = false } = options;
  const receiving = { ...(flow === 'push' ? accepting : connecting), inOrder: beside };
  const tail = { module: LOAD_MODULE, options: { ordered, fused: beside, ...options.tail } };
  const receive = {
    name: 'receive',
    instances: agents,
    carries: true,
    modules: [{ module: RECEIVE, options: receiving }],
  };
  const far = await startPipe({
    maxBuffers: options.farBuffers ?? 8,
    payloadBytes,
    directoryBytes: 4096,
    stages: beside
      ? [{ ...receive, modules: [...receive.modules, tail], runsBeside: true }]
      : [receive, { name: 'tail', ordered, modules: [tail] }],
    onMessage: (_stage, _instance, message) => seen.push(...(message as number[])),
  });
  const near = await startPipe({
    maxBuffers: options.nearBuffers ?? 8,
    payloadBytes,
    directoryBytes: 4096,
    stages: [
      {
        name: 'head',
        instances: heads,
        modules: [{ module: LOAD_MODULE, options: { count, seed: options.seed, ...options.head } }],
      },
      {
        name: 'send',
        instances: agents,
        numbered: true,
        modules: [
          {
            module: SEND,
            options: { ...(flow === 'push' ? connecting : accepting), ...rateOf(options) },
          },
        ],
      },
    ],
  });
  const [pipe, stage] = flow === 'push' ? [far, 'receive'] : [near, 'send'];
  port.register(id, async (connection: HandOver) => {
    const answers = await pipe.control(stage, connection);
    return answers.includes(true);
  });
  return {
    near,
    far,
    proxy,
    port,
    id,
    secret,
    arrived: () => seen.sort((a, b) => a - b),
    async close() {
      await Promise.all([near.stop(), far.stop()]);
      await proxy.close();
      await port.close();
    },
  };
}

function rateOf({ bytesPerSecond }: PairOptions): Pick<SendOptions, 'rate'> {
  return bytesPerSecond === undefined ? {} : { rate: shareRate(bytesPerSecond) };
}
