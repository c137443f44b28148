/**
 * The modules that other machines may name in pipes on this one (P9).
 *
 * Contract: a module is named by a word of this list, never by a path or a command; what its options are
 * made from is looked at here, with the paired machine that asks in hand, before anything starts. A flow
 * between machines is two lists of stages: its near half is given to `extendPipe` with URLs of modules,
 * its far half with names of this list; `allowFarModule` is how a new flow enters its own.
 */
import { PenstockError } from '../base/errors.ts';
import type { Peer } from '../channel/net/peers.ts';

export interface FarModule {
  readonly url: URL;
  /**
   * The options of the module from what the other machine sent, which is any JSON.
   *
   * @throws PIPE_CONFIG where they are wrong, NET_DENIED where the peer may not
   */
  options(sent: unknown, peer: Peer): unknown;
}

const modules = new Map<string, FarModule>();

/** Lets paired machines name a module. */
export function allowFarModule(name: string, module: FarModule): void {
  modules.set(name, module);
}

/** The module of this name. PIPE_CONFIG, also for one that exists and is not allowed. */
export function farModule(name: string): FarModule {
  const found = modules.get(name);
  if (found !== undefined) return found;
  throw new PenstockError(
    'PIPE_CONFIG',
    `this machine lets no other one use a module ${JSON.stringify(name.slice(0, 64))}`,
  );
}
