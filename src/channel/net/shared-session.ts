/**
 * A session of HTTP/2 on a connection that pipes share (shared-thread.ts): its windows, and its end.
 *
 * Contract: nothing is done with a session that is destroyed, which would end the thread and all that it
 * carries. One on which nothing is heard for LIMITS.linkSilenceMs is destroyed, also while it is closing.
 */
import type { Http2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { LIMITS } from '../../base/limits.ts';

const SETTINGS = {
  enablePush: false,
  initialWindowSize: LIMITS.sharedStreamBytes,
  maxConcurrentStreams: LIMITS.sharedStreamsMax,
} as const;
const WINDOW_BYTES = LIMITS.sharedStreamBytes * LIMITS.sharedStreamsMax;
export const SESSION_OPTIONS = {
  settings: SETTINGS,
  maxSessionMemory: Math.ceil(WINDOW_BYTES / 1e6) + 16,
} as const;

/**
 * A socket for HTTP/2, which would take its handle away from it: what was being written or had been read
 * already would be lost, or end the process.
 */
export function wireOf(socket: Socket): Duplex {
  const both = { readable: socket, writable: socket };
  const wire = Duplex.from(both as unknown as Parameters<typeof Duplex.from>[0]);
  wire.on('error', () => {});
  wire.once('close', () => socket.destroy());
  // Half closed, Node.js would end its own side while the session still writes, and fail for that: the thread too.
  wire.once('end', () => wire.destroy());
  // What has closed since it was set up does not say so again.
  if (socket.destroyed) wire.destroy();
  else socket.once('close', () => wire.destroy());
  return wire;
}

/** Keeps an eye on a session until it is over, which is when it resolves; `signal` ends it. */
export function watchSession(
  session: Http2Session,
  socket: Socket,
  signal: AbortSignal,
): Promise<void> {
  session.on('error', () => {});
  const widen = (): void => {
    // Also one that was destroyed before it was connected says that it is.
    if (!session.destroyed) session.setLocalWindowSize(WINDOW_BYTES);
  };
  session.on('connect', widen);
  session.on('localSettings', widen);
  const destroy = (): void => session.destroy();
  signal.addEventListener('abort', destroy, { once: true });
  let heardMs = performance.now();
  let heardBytes = 0;
  const timer = setInterval(() => {
    if (socket.bytesRead > heardBytes) heardMs = performance.now();
    heardBytes = socket.bytesRead;
    // One that is destroyed closes later, and would throw.
    if (session.destroyed) return;
    if (performance.now() - heardMs > LIMITS.linkSilenceMs) session.destroy();
    else if (!session.closed) session.ping(() => {});
  }, LIMITS.linkBeatMs);
  return new Promise((resolve) => {
    session.once('close', () => {
      clearInterval(timer);
      signal.removeEventListener('abort', destroy);
      resolve();
    });
    if (signal.aborted) destroy();
  });
}
