/**
 * The routes of pipes: what runs, stopping it, and the control channel of pipes from other machines.
 *
 * Contract: a paired machine sees and stops the pipes that it has begun; one with full access to
 * everything all of them. Of others nobody learns the name.
 */
import { Gauge } from 'prom-client';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { mayAccess, type Peer } from '../channel/net/peers.ts';
import type { MonitorContext, MonitorServer, PipeSettings } from './context.ts';
import { FarPipes } from './far-pipes.ts';
import { LocalSocket } from './local-socket.ts';
import { NearPipes } from './near-pipes.ts';
import type { QueueLimits } from './pipe-queue.ts';
import { PipeRegistry, type RegisteredPipe } from './pipe-registry.ts';
import { PipeTurns } from './pipe-turns.ts';
import type { PipeView } from './pipe-view.ts';

const TEXT = { type: 'string' } as const;
const COUNT = { type: 'integer', minimum: 0 } as const;

const PIPE_SCHEMA = {
  type: 'object',
  required: [
    'name',
    'state',
    'program',
    'machine',
    'flow',
    'upMs',
    'stopping',
    'buffers',
    'stages',
  ],
  properties: {
    name: TEXT,
    state: { type: 'string', enum: ['queued', 'starting', 'running'] },
    place: { type: 'integer', minimum: 1 },
    device: TEXT,
    program: TEXT,
    machine: TEXT,
    flow: { type: 'string', enum: ['push', 'pull', 'local'] },
    upMs: COUNT,
    stopping: { type: 'boolean' },
    segmentBytes: COUNT,
    buffers: {
      type: 'object',
      required: ['total', 'free', 'bytesEach'],
      properties: { total: COUNT, free: { type: 'integer' }, bytesEach: COUNT },
    },
    stages: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'role', 'queued', 'buffersPerSecond', 'instances'],
        properties: {
          name: TEXT,
          role: { type: 'string', enum: ['head', 'middle', 'tail'] },
          queued: { type: 'integer' },
          buffersPerSecond: { type: 'number' },
          programs: { type: 'array', items: { type: 'integer' } },
          instances: {
            type: 'array',
            items: {
              type: 'object',
              required: ['name', 'state', 'waitsFor', 'buffers', 'received'],
              properties: {
                name: TEXT,
                state: TEXT,
                waitsFor: { type: 'array', items: TEXT },
                buffers: COUNT,
                received: COUNT,
              },
            },
          },
        },
      },
    },
  },
} as const;

const LIST_SCHEMA = {
  summary: 'the pipes that run or wait here: stages, instances, buffers, rates, who waits for whom',
  response: {
    200: {
      type: 'object',
      required: ['pipes'],
      properties: { pipes: { type: 'array', items: PIPE_SCHEMA } },
    },
  },
} as const;

const STOP_SCHEMA = {
  summary: 'stops a pipe; answers when it is over',
  params: {
    type: 'object',
    required: ['name'],
    properties: { name: { type: 'string', maxLength: 200 } },
  },
  response: {
    200: { type: 'object', required: ['stopped'], properties: { stopped: TEXT } },
  },
} as const;

export async function pipeRoutes(server: MonitorServer, context: MonitorContext): Promise<void> {
  const registry = new PipeRegistry();
  measure(context, registry);
  const turns = new PipeTurns(queueLimits(context.pipes), registry);
  const far = new FarPipes(context, turns);
  const near = new NearPipes(context, turns);
  const local = await LocalSocket.open(context, registry, near);
  server.get('/v1/pipes', { schema: LIST_SCHEMA }, ({ peer }): { pipes: PipeView[] } => ({
    pipes: registry.list((pipe) => maySee(peer, pipe)),
  }));
  server.delete('/v1/pipes/:name', { schema: STOP_SCHEMA }, async (request) => {
    const { name } = request.params as { name: string };
    const { peer } = request;
    const reason = new PenstockError('PIPE_STOPPED', `${peer.name} has stopped the pipe`);
    await registry.stop(name, reason, (pipe) => maySee(peer, pipe));
    return { stopped: name };
  });
  context.webSocket(/^\/v1\/pipes\/(?<name>[\w.-]{1,200})\/control$/, (connection) => {
    void far.accept(connection);
  });
  context.onPeerRemoved((fingerprint) => {
    const reason = new PenstockError(
      'NET_REFUSED',
      'the machine that began it is no longer paired',
    );
    void registry.stopAll(reason, ({ owner }) => owner === fingerprint);
  });
  context.onClose(async (drainMs) => {
    const isOwn = (pipe: RegisteredPipe): boolean => pipe.isOwn;
    const reason = new PenstockError('PIPE_STOPPED', 'the monitor ends');
    // What waits will not run any more.
    await registry.stopAll(reason, (pipe) => isOwn(pipe) && pipe.view().state === 'queued');
    await registry.drained(drainMs, isOwn);
    await registry.stopAll(reason, isOwn);
    await far.close();
    await local?.close();
  });
}

function queueLimits({ memoryBytes, devices }: PipeSettings): QueueLimits {
  return {
    memoryBytes,
    devices,
    pipesMax: LIMITS.pipesMax,
    threadsMax: LIMITS.pipesThreadsMax,
    ownerPart: LIMITS.pipesOwnerPart,
    waitingMax: LIMITS.pipesWaitingMax,
    ownerWaitingMax: LIMITS.pipesOwnerWaitingMax,
  };
}

function maySee(peer: Peer, { owner }: RegisteredPipe): boolean {
  return owner === peer.fingerprint || mayAccess(peer, '*', 'full');
}

function measure({ metrics }: MonitorContext, registry: PipeRegistry): void {
  for (const [name, help, read] of [
    ['penstock_pipes', 'Pipes that run on this machine', () => registry.count('running')],
    ['penstock_pipes_queued', 'Pipes that wait for their turn', () => registry.count('queued')],
    ['penstock_pipes_segment_bytes', 'Memory of their segments', () => registry.segmentBytes],
  ] as const) {
    new Gauge({
      name,
      help,
      registers: [metrics],
      collect() {
        this.set(read());
      },
    });
  }
}
