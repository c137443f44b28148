/**
 * Pipes between machines whose ends are loads (agent-load.ts): begins them, and notes what has arrived.
 *
 * Contract: far machines of this process allow the load under the name `test-load`.
 */

import type { Server } from '../src/channel/net/api-client.ts';
import {
  type ExtendedPipe,
  type ExtendOptions,
  extendPipe,
} from '../src/channel/net/controller.ts';
import type { Identity } from '../src/channel/net/identity.ts';
import type { FarHalf } from '../src/channel/net/reach.ts';
import { allowFarModule } from '../src/monitor/pipe-modules.ts';
import { LOAD_MODULE, LOAD_WORDS, type LoadOptions } from './agent-load.ts';

allowFarModule('test-load', { url: LOAD_MODULE, options: (sent) => sent });

export const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

export interface LoadSetting extends Partial<ExtendOptions> {
  readonly head?: Partial<LoadOptions>;
  readonly tail?: Partial<LoadOptions>;
  readonly payloadBytes?: number;
}

/** Where a pipe goes. */
export interface LoadPlace {
  readonly identity: Identity;
  readonly server: Server;
  /** What the tail says that it has got is added to it. */
  readonly arrived: number[];
}

/**
 * Begins a pipe of a hundred buffers, where not told otherwise, in their order.
 *
 * @param reach what becomes of the far half, where it is to go on to other machines
 */
export function beginLoad(
  { identity, server, arrived }: LoadPlace,
  { head, tail, payloadBytes = 10_000, ...more }: LoadSetting,
  reach = (far: FarHalf): FarHalf => far,
): Promise<ExtendedPipe> {
  const note = (message: unknown): void => {
    if (Array.isArray(message)) arrived.push(...(message as number[]));
  };
  const flow = more.flow ?? 'push';
  const [near, last] = flow === 'push' ? ['head', 'tail'] : ['tail', 'head'];
  const headOptions = { count: 100, ...head };
  const tailOptions = { ordered: true, ...tail };
  const [own, other] = flow === 'push' ? [headOptions, tailOptions] : [tailOptions, headOptions];
  return extendPipe({
    identity,
    server,
    program: 'test',
    flow,
    near: {
      maxBuffers: 6,
      payloadBytes,
      directoryBytes: 1000,
      stages: [{ name: near, modules: [{ module: LOAD_MODULE, options: own }] }],
      onMessage: (_stage, _instance, message) => note(message),
    },
    far: reach({ stages: [{ name: last, modules: [{ name: 'test-load', options: other }] }] }),
    ...LOAD_WORDS,
    onFarPost: (_stage, _instance, message) => note(message),
    ...more,
  });
}
