/**
 * The modules that other machines may name in pipes on this one (P9).
 *
 * Contract: a module is named by a word of this list, never by a path or a command; what its options are
 * made from is looked at here, with the paired machine that asks in hand, before anything starts. A flow
 * between machines is two lists of stages: its near half is given to `extendPipe` with URLs of modules,
 * its far half with names of this list; `allowFarModule` is how a new flow enters its own.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { UnboundOptions } from '../channel/local/unbound.ts';
import { UNBOUND_URL } from '../channel/local/unbound-stage.ts';
import type { Peer } from '../channel/net/peers.ts';
import type { ExecOptions } from '../modules/exec.ts';
import { moduleFile } from '../mover/module-file.ts';

export interface FarModule {
  readonly url: URL;
  /** It leaves nothing behind in its thread, which may run another pipe's instance later. */
  readonly keepsThread?: boolean;
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

/** The word for a head or tail that a program of this machine attaches to. */
export const UNBOUND = 'unbound';

/** What this monitor was told besides: commands that its administrator lets pipes use, by name. */
export interface ModuleList {
  readonly commands: ReadonlyMap<string, readonly string[]>;
}

/** Refuses a name that a command of the administrator cannot have. USAGE. */
export function checkCommandName(name: string): void {
  const isName = isModuleName(name) && name !== UNBOUND && !modules.has(name);
  if (isName) return;
  throw new PenstockError('USAGE', `no module can be given the name ${JSON.stringify(name)}`, {
    hint: 'take letters, digits, dots and dashes, and no name of a module of Penstock',
  });
}

export function isModuleName(name: string): boolean {
  return /^[A-Za-z0-9][\w.-]*$/.test(name) && name.length <= LIMITS.peerNameLengthMax;
}

/** The module of this name. PIPE_CONFIG where no other machine may use it, NET_DENIED where this one may not. */
export function farModule(name: string, { commands }: ModuleList, peer: Peer): FarModule {
  const found = modules.get(name);
  if (found !== undefined) return found;
  const words = commands.get(name);
  if (words !== undefined || name === UNBOUND) requireModule(peer, name);
  if (words !== undefined) return commandModule(words);
  if (name === UNBOUND) return UNBOUND_MODULE;
  throw new PenstockError(
    'PIPE_CONFIG',
    `this machine lets no other one use a module ${JSON.stringify(name.slice(0, 64))}`,
  );
}

/** A command in the middle, at the head or at the tail; what the other machine sends is of no use to it. */
function commandModule(words: readonly string[]): FarModule {
  const { module, options } = commandOf(words);
  return { url: module, options: () => options };
}

/** The module of a command that the administrator named. */
export function commandOf(words: readonly string[]): { module: URL; options: ExecOptions } {
  const [command = '', ...args] = words;
  return { module: moduleFile('exec'), options: { command, args } };
}

const UNBOUND_MODULE: FarModule = {
  url: UNBOUND_URL,
  options: (sent) => {
    const { waitMs = LIMITS.programWaitMs } = (sent ?? {}) as { waitMs?: unknown };
    if (typeof waitMs !== 'number' || !(waitMs > 0 && waitMs <= LIMITS.programWaitMsMax)) {
      throw new PenstockError('PIPE_CONFIG', 'the wait for a program is no time that is allowed');
    }
    return { waitMs } satisfies UnboundOptions;
  },
};

function requireModule(peer: Peer, name: string): void {
  if (peer.modules?.includes(name) === true) return;
  throw new PenstockError('NET_DENIED', `this machine lets ${peer.name} use no module ${name}`, {
    hint: `pair with a token of \`penstock pair token --module ${name}\``,
  });
}
