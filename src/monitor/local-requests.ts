/**
 * What commands ask of the monitor of their state folder (local-socket.ts is its side).
 *
 * Contract: each call is one connection. MONITOR_MISSING where no monitor runs with this state folder.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { connectLocal, LineChannel, socketPath } from '../channel/local/line-channel.ts';
import { fromWireError } from '../channel/wire-error.ts';
import type { StartedPipe, StartRequest } from './near-pipes.ts';
import type { PipeView } from './pipe-view.ts';
import { SOCKET_NAME } from './socket-name.ts';

export type LocalRequest =
  | { readonly type: 'pipes' }
  | { readonly type: 'stop'; readonly name: string }
  | { readonly type: 'start'; readonly request: StartRequest }
  /** Then lines `{ view }`; what comes back is `{ stop: error }`. */
  | { readonly type: 'register'; readonly view: PipeView };

/** The pipes of the monitor of a state folder. MONITOR_MISSING. */
export async function askPipes(stateDirectory: ByteString): Promise<PipeView[]> {
  return (await ask<{ pipes: PipeView[] }>(stateDirectory, { type: 'pipes' })).pipes;
}

/** Has the monitor of a state folder stop a pipe. MONITOR_MISSING, PIPE_UNKNOWN. */
export async function askStop(stateDirectory: ByteString, name: string): Promise<void> {
  await ask(stateDirectory, { type: 'stop', name });
}

/** Has the monitor of a state folder run a pipe between programs. Throws as NearPipes.start. */
export function askStart(stateDirectory: ByteString, request: StartRequest): Promise<StartedPipe> {
  return ask(stateDirectory, { type: 'start', request });
}

/** A connection to the monitor, if one runs. */
export async function openMonitor(stateDirectory: ByteString): Promise<LineChannel | undefined> {
  const path = socketPath(`${stateDirectory}/${SOCKET_NAME}`);
  const socket = path === undefined ? undefined : await connectLocal(path);
  return socket === undefined ? undefined : new LineChannel(socket, LIMITS.localMessageBytesMax);
}

async function ask<T>(stateDirectory: ByteString, request: LocalRequest): Promise<T> {
  const channel = await openMonitor(stateDirectory);
  if (channel === undefined) {
    throw new PenstockError('MONITOR_MISSING', 'no monitor runs with this state folder', {
      subject: stateDirectory,
    });
  }
  channel.send(request);
  const answer = (await channel.next()) as (T & { error?: unknown }) | undefined;
  channel.socket.destroy();
  if (answer === undefined) {
    throw new PenstockError('NET_LOST', 'the monitor ended before it answered');
  }
  if (answer.error !== undefined) throw fromWireError(answer.error, 'the monitor');
  return answer;
}
