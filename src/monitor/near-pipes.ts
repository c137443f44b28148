/**
 * Pipes that users of this machine have its monitor run, between programs that attach themselves: `penstock
 * pipe start` (P8, P10).
 *
 *   here:            head ──▶ commands … ──▶ tail
 *   to HOST:         head ──▶ commands … ══ network ══▶ its commands … ──▶ tail
 *   from HOST:       tail ◀── commands … ◀══ network ══ its commands … ◀── head
 *   to B, to C:      head ──▶ commands … ══▶ commands of B … ══▶ commands of C … ──▶ tail
 *
 * Contract: `start` resolves once the pipe runs or is queued, and rejects with what hinders it. A pipe lives
 * in the monitor, whoever asked for it. Commands are those that the administrator of each machine named.
 */
import { hostname } from 'node:os';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openAttachPort } from '../channel/local/attach-port.ts';
import { unboundModule } from '../channel/local/unbound-stage.ts';
import type { Server } from '../channel/net/api-client.ts';
import type { FarStage } from '../channel/net/control-channel.ts';
import { startNear } from '../channel/net/controller.ts';
import { type FarHalf, reachPipe } from '../channel/net/reach.ts';
import { makePipeName, type Pipe, type PipeSpec, type StageSpec, startPipe } from '../pipe/mod.ts';
import type { MonitorContext } from './context.ts';
import { commandOf, UNBOUND } from './pipe-modules.ts';
import { registered } from './pipe-registry.ts';
import { type PipeTurns, type Turn, turnsTogether, wishOf } from './pipe-turns.ts';
import type { PipeFacts } from './pipe-view.ts';

/** What `penstock pipe start` asks for. */
export interface StartRequest {
  readonly name?: string | undefined;
  /** The other machines, the next one first, and on which side of this one they are; undefined: all is here. */
  readonly far?: { readonly flow: 'push' | 'pull'; readonly machines: readonly FarPart[] };
  /** Commands of this machine's list, in the order of the flow. */
  readonly through: readonly string[];
  readonly device?: string | undefined;
  /** It shares connections with others that do. */
  readonly shared?: boolean | undefined;
  /** How long each end waits for its program. */
  readonly waitMs?: number | undefined;
}

/** What is asked for on another machine. */
export interface FarPart {
  readonly host: string;
  readonly port: number;
  /** Commands of its list, in the order of the flow. */
  readonly through: readonly string[];
  readonly device?: string | undefined;
}

/** What it is answered. */
export interface StartedPipe {
  readonly name: string;
  readonly state: 'running' | 'queued';
  readonly place?: number;
}

const PROGRAM = 'pipe start';
const PAYLOAD_BYTES = 256 * 1024;
/** For each instance that allocates. */
const BUFFERS_EACH = 8;
const BUFFERS_EACH_LEAST = 2;

interface Plan {
  readonly near: PipeSpec & { readonly name: string; readonly minBuffers: number };
  readonly facts: PipeFacts;
  readonly far:
    | {
        readonly server: Server;
        readonly flow: 'push' | 'pull';
        readonly half: FarHalf;
        readonly shared: boolean;
      }
    | undefined;
}

interface Begun {
  readonly pipe: Pipe;
  readonly done: Promise<unknown>;
  stop(reason: PenstockError): Promise<void>;
}

export class NearPipes {
  readonly #context: MonitorContext;
  readonly #turns: PipeTurns;

  constructor(context: MonitorContext, turns: PipeTurns) {
    this.#context = context;
    this.#turns = turns;
  }

  /** PIPE_CONFIG, LIMIT, NET_BUSY, and whatever `extendPipe` throws. */
  async start(asked: StartRequest): Promise<StartedPipe> {
    if (this.#context.closing.aborted) {
      throw new PenstockError('NET_BUSY', 'the monitor is being stopped');
    }
    const plan = this.#plan(asked);
    const { name } = plan.near;
    const told = Promise.withResolvers<StartedPipe>();
    const onQueued = (place: number): void => told.resolve({ name, state: 'queued', place });
    const turn = this.#turns.ask({
      ...plan.facts,
      name,
      owner: undefined,
      wish: wishOf(plan.near, plan.near.stages),
      onQueued,
    });
    this.#run(plan, turn, onQueued, () => told.resolve({ name, state: 'running' })).catch(
      (thrown) => {
        const { code, message } = toPenstockError(thrown);
        this.#context.log.warn(`a pipe was stopped: ${message}`, { pipe: name, code });
        told.reject(thrown);
      },
    );
    return told.promise;
  }

  async #run(
    plan: Plan,
    turn: Turn,
    onQueued: (place: number) => void,
    onRunning: () => void,
  ): Promise<void> {
    const { log, state } = this.#context;
    const { name } = plan.near;
    try {
      const { pipe, done, stop } = await this.#begin(plan, turn, onQueued);
      const { program, machine } = plan.facts;
      let programs: PipeFacts['programs'];
      try {
        const options = { stateDirectory: state.path, pipe, done, program, machine };
        programs = await openAttachPort(plan.near, options);
      } catch (thrown) {
        await stop(toPenstockError(thrown));
        throw thrown;
      }
      const facts = { ...plan.facts, owner: undefined, stop };
      turn.started(registered(pipe, programs === undefined ? facts : { ...facts, programs }));
      log.info('a pipe was begun', { pipe: name, flow: plan.facts.flow });
      onRunning();
      await done;
      log.info('a pipe has ended', { pipe: name });
    } finally {
      turn.end();
    }
  }

  async #begin({ near, far }: Plan, turn: Turn, onQueued: (place: number) => void): Promise<Begun> {
    if (far === undefined) {
      const { buffers } = await turn.admitted;
      const pipe = await startPipe({ ...near, maxBuffers: buffers });
      return { pipe, done: pipe.done, stop: (reason) => pipe.stop(reason) };
    }
    const { server, flow, half, shared } = far;
    const { buffers, rest } = await turnsTogether(turn, (onQueuedThere) =>
      reachPipe({
        identity: this.#context.identity,
        server,
        program: PROGRAM,
        flow,
        near,
        far: half,
        shared,
        signal: turn.signal,
        onQueued: (place) => {
          onQueuedThere(place);
          onQueued(place);
        },
      }),
    );
    const spec = { ...near, maxBuffers: buffers };
    const extended = await startNear({ flow, near: spec }, rest);
    return { pipe: extended.near, done: extended.done, stop: (reason) => extended.stop(reason) };
  }

  #plan(asked: StartRequest): Plan {
    const { through, far, device, waitMs = LIMITS.programWaitMs } = asked;
    const head: StageSpec = { name: 'head', modules: [unboundModule({ waitMs })] };
    const tail: StageSpec = { name: 'tail', modules: [unboundModule({ waitMs })] };
    const middle = through.map((word, i) => this.#commandStage(word, i));
    const stages: StageSpec[] = [
      ...(far?.flow === 'pull' ? [] : [head]),
      ...middle,
      ...(far?.flow === 'push' ? [] : [tail]),
    ];
    const near = {
      ...buffersFor(1 + through.length),
      name: asked.name ?? makePipeName(),
      payloadBytes: PAYLOAD_BYTES,
      stages,
    };
    const flow = far?.flow ?? 'local';
    const facts = { program: PROGRAM, machine: hostname(), flow, device } as const;
    if (far === undefined) return { near, facts, far };
    const [next, ...others] = far.machines;
    if (next === undefined || others.length + 2 > LIMITS.pipeMachinesMax) {
      throw new PenstockError(
        'PIPE_CONFIG',
        `a pipe has 2 to ${LIMITS.pipeMachinesMax} machines, where it reaches another one`,
      );
    }
    const { host, port } = next;
    const { fingerprint } = this.#context.peers.server(host, port);
    return {
      near,
      facts,
      far: {
        server: { host, port, fingerprint },
        flow: far.flow,
        half: farHalf(far.flow, next, others, waitMs),
        shared: asked.shared === true,
      },
    };
  }

  #commandStage(word: string, number: number): StageSpec {
    const words = this.#context.pipes.commands.get(word);
    if (words === undefined) {
      throw new PenstockError('PIPE_CONFIG', `this machine has no module ${word}`, {
        hint: 'name it with `penstock serve --module NAME=COMMAND`',
      });
    }
    return { name: stageName(word, number), modules: [commandOf(words)], allocates: true };
  }
}

/** What the next machine is asked for, and those behind it. */
function farHalf(
  flow: 'push' | 'pull',
  { through, device }: FarPart,
  [next, ...others]: readonly FarPart[],
  waitMs: number,
): FarHalf {
  const commands = through.map((word, i): FarStage => {
    return { name: stageName(word, i), modules: [{ name: word }], allocates: true };
  });
  const half = {
    // Agents allocate too, in the middle and where the tail is.
    ...buffersFor(1 + through.length),
    ...(device === undefined ? {} : { device }),
  };
  if (next !== undefined) {
    const { host, port } = next;
    const onward = { ...farHalf(flow, next, others, waitMs), machine: { host, port } };
    return { ...half, stages: commands, onward };
  }
  const unbound = [{ name: UNBOUND, options: { waitMs } }];
  const stages =
    flow === 'push'
      ? [...commands, { name: 'tail', modules: unbound }]
      : [{ name: 'head', modules: unbound }, ...commands];
  return { ...half, stages };
}

function stageName(word: string, number: number): string {
  return `${number + 1}-${word}`.slice(0, 63);
}

function buffersFor(allocating: number): { maxBuffers: number; minBuffers: number } {
  return {
    maxBuffers: allocating * BUFFERS_EACH,
    minBuffers: allocating * BUFFERS_EACH_LEAST,
  };
}
