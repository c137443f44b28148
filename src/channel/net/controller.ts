/**
 * Pipes that reach other machines: how the initiator extends one there (P8, P9).
 *
 * Contract: the far half runs when `extendPipe` has resolved, and the near half has been started; `done`
 * of what it gives says how all ended. Modules of the far half are named from the far machine's list of
 * allowed ones (monitor/pipe-modules.ts). The near half is a PipeSpec without agents: they are added here,
 * `send` behind its last stage or `receive` before its first.
 *
 *   push:  near stages ──▶ send ══ network ══▶ receive ──▶ far stages
 *   pull:  near stages ◀── receive ══ network ══ send ◀── far stages
 *
 * A half that says `onward` is extended by its own machine to the next one, in the same way.
 */
import { type PenstockError, toPenstockError } from '../../base/errors.ts';
import { type Pipe, type PipeSpec, startPipe } from '../../pipe/mod.ts';
import { HalfPipe } from './half-pipe.ts';
import { behindAgents, type Reached, type ReachOptions, reachPipe } from './reach.ts';

export interface ExtendOptions extends ReachOptions {
  /** The near half. Both halves have buffers of the same size. */
  readonly near: PipeSpec;
  onFarPost?(stage: string, instance: number, message: unknown): void;
  onFarWarning?(stage: string, instance: number, record: unknown): void;
  /** How far the tail has made the data safe: what a pipe that is started again goes on from. */
  onSafe?(value: unknown): void;
}

export interface ExtendedPipe {
  readonly name: string;
  readonly near: Pipe;
  /**
   * Settles when all halves are over; with the counters of the far one, or the first cause. Those of a machine
   * behind it stand under `ADDRESS/STAGE`.
   */
  readonly done: Promise<Readonly<Record<string, readonly number[]>>>;
  stop(reason?: string | PenstockError): Promise<void>;
  /** Where a stage of the far half has the name of one on a machine behind it, the nearer one is meant. */
  controlFar(stage: string, message: unknown): Promise<unknown[]>;
}

/**
 * Starts a pipe whose other half is on another machine.
 *
 * @throws NET_UNREACHABLE, NET_UNTRUSTED, NET_REFUSED, NET_DENIED, NET_BUSY, NET_LOST, PIPE_CONFIG
 */
export async function extendPipe(options: ExtendOptions): Promise<ExtendedPipe> {
  return startNear(options, await reachPipe(options));
}

/** Starts the near half of a pipe whose far half waits for it. PIPE_CONFIG, LIMIT. */
export async function startNear(
  options: Omit<ExtendOptions, 'identity' | 'server' | 'program' | 'far'>,
  { name, address, channel, agents, begun, giveUp }: Reached,
): Promise<ExtendedPipe> {
  const { near, flow, ordered } = options;
  let pipe: Pipe;
  let half: HalfPipe | undefined;
  try {
    pipe = await startPipe({
      ...near,
      name,
      stages:
        flow === 'push' ? [...near.stages, agents] : behindAgents(agents, near.stages, ordered),
      onMessage: (stage, instance, message) => {
        half?.posted(message);
        near.onMessage?.(stage, instance, message);
      },
    });
  } catch (thrown) {
    await giveUp(toPenstockError(thrown));
    throw thrown;
  }
  const { onFarPost, onFarWarning, onSafe } = options;
  const started = new HalfPipe(pipe, channel, {
    farName: address,
    agentStage: flow === 'push' ? 'send' : 'receive',
    ...(flow === 'push' ? { headStage: near.stages[0]?.name ?? '' } : {}),
    ...(onFarPost === undefined ? {} : { onFarPost }),
    ...(onFarWarning === undefined ? {} : { onFarWarning }),
    ...(onSafe === undefined ? {} : { onSafe }),
  }).begin();
  half = started;
  begun(pipe, started.done);
  return {
    name,
    near: pipe,
    done: started.done,
    stop: (reason) => started.stop(reason),
    controlFar: (stage, message) => started.controlFar(stage, message),
  };
}
