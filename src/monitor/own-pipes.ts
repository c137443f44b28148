/**
 * Pipes that a program of one's own runs, as the library gives them: like those of the daemon they can reach
 * other machines, take programs at unbound ends, and are shown by the monitor of their machine.
 *
 * Contract: a pipe lives in the process that began it. `stateDirectory` is the folder of this machine's
 * identity and pairings; nothing but what a pipe needs is made there. No monitor is needed on this machine.
 */
import { hostname } from 'node:os';
import { fromText } from '../base/bytes.ts';
import { type PenstockError, toPenstockError } from '../base/errors.ts';
import * as attaching from '../channel/local/attach.ts';
import { openAttachPort } from '../channel/local/attach-port.ts';
import type { ExtendedPipe, ExtendOptions } from '../channel/net/controller.ts';
import { openIdentity } from '../channel/net/identity.ts';
import { Peers } from '../channel/net/peers.ts';
import { MONITOR_PORT } from '../channel/net/ports.ts';
import { StateFolder } from '../channel/net/state-folder.ts';
import { type Pipe, type PipeSpec, startPipe } from '../pipe/mod.ts';
import { announcePipe } from './announce.ts';

/** What every pipe is begun with. */
export interface PipeOwner {
  /** The state folder of this machine: `userStateDirectory()`, where nothing else is wanted. */
  readonly stateDirectory: string;
  /** What kind of program begins the pipe, for lists. Default: `program`. */
  readonly program?: string;
}

/** The machine that a pipe is to reach; it must be paired with this one as a server. */
export interface FarMachine {
  readonly host: string;
  /** Default: 7420. */
  readonly port?: number;
  /** Addresses of this machine to connect from, in turns. */
  readonly localAddresses?: readonly string[];
}

export interface FarPipeOptions
  extends PipeOwner,
    Omit<ExtendOptions, 'identity' | 'server' | 'program' | 'machine'> {
  readonly machine: FarMachine;
}

/**
 * Starts a pipe on this machine, as `startPipe`; programs may attach to its unbound stages (`unboundModule`), and
 * the monitor of this machine shows it, if one runs.
 *
 * @throws PIPE_CONFIG it cannot work, or there is a pipe of this name; LIMIT; HOST_IO
 */
export async function initiatePipe(spec: PipeSpec, owner: PipeOwner): Promise<Pipe> {
  const pipe = await startPipe(spec);
  await open(spec, pipe, pipe.done, owner, (reason) => pipe.stop(reason));
  return pipe;
}

/**
 * Starts a pipe one half of which is on another machine. The near half is as `initiatePipe` would start it;
 * the far one names modules that the other machine lets this one use.
 *
 * @throws NET_UNTRUSTED it is not paired, NET_UNREACHABLE, NET_REFUSED, NET_DENIED, NET_BUSY, NET_LOST,
 *   PIPE_CONFIG, LIMIT, HOST_IO
 */
export async function extendPipe(options: FarPipeOptions): Promise<ExtendedPipe> {
  const { stateDirectory, machine, program = PROGRAM, ...rest } = options;
  const { host, port = MONITOR_PORT, localAddresses } = machine;
  const state = new StateFolder(fromText(stateDirectory));
  const { fingerprint } = new Peers(state).server(host, port);
  const { extendPipe: extend } = await import('../channel/net/controller.ts');
  const extended = await extend({
    ...rest,
    program,
    identity: await openIdentity(state),
    server: {
      host,
      port,
      fingerprint,
      ...(localAddresses === undefined ? {} : { localAddresses }),
    },
  });
  await open(options.near, extended.near, extended.done, options, (reason) =>
    extended.stop(reason),
  );
  return extended;
}

const PROGRAM = 'program';

/** Lets programs attach, and tells the monitor. */
async function open(
  spec: PipeSpec,
  pipe: Pipe,
  done: Promise<unknown>,
  { stateDirectory, program = PROGRAM }: PipeOwner,
  stop: (reason: PenstockError) => Promise<void>,
): Promise<void> {
  const folder = fromText(stateDirectory);
  try {
    const facts = { stateDirectory: folder, pipe, done, program, machine: hostname() };
    const programs = await openAttachPort(spec, facts);
    announcePipe(folder, pipe, program, programs === undefined ? {} : { programs }).catch(() => {});
  } catch (thrown) {
    const error = toPenstockError(thrown);
    await stop(error);
    throw error;
  }
}

/** Which end of which pipe a program wants to be. */
export interface AttachRequest {
  /** The state folder with which the process that runs the pipe works: this one's or a daemon's. */
  readonly stateDirectory: string;
  readonly pipe: string;
  /** Where the pipe has several such ends. */
  readonly stage?: string;
}

/**
 * Attaches this program as a head of a pipe: a Writable that has finished when the whole pipe has ended well.
 *
 * @throws PIPE_UNKNOWN no such pipe takes programs here, ATTACH_REFUSED, PIPE_FAILED
 */
export function attachHead(request: AttachRequest): Promise<attaching.AttachedHead> {
  return attaching.attachHead(withBytes(request));
}

/**
 * Attaches this program as a tail of a pipe: a Readable; all was taken when it has told its `end`, and the
 * pipe's end is its `outcome`. Throws as `attachHead`.
 */
export function attachTail(request: AttachRequest): Promise<attaching.AttachedTail> {
  return attaching.attachTail(withBytes(request));
}

function withBytes(request: AttachRequest): attaching.AttachOptions {
  return { ...request, stateDirectory: fromText(request.stateDirectory) };
}
