/**
 * Has a socket lay what comes into one piece of memory that all sockets of a thread use in turn, instead of making
 * a new piece for each read, since the collector of garbage takes a fourth of all
 * that a connection costs.
 *
 * Node.js offers that (`onread`) for sockets that it connects itself, and from the beginning on.
 * So it is asked for from within, and where Node.js has become another there, everything is as without.
 *
 * Contract: what `take` is given is there until it returns, and no longer.
 */
import type { Socket } from 'node:net';
import { LIMITS } from '../../base/limits.ts';

interface Inner {
  _handle?: { useUserBuffer?(memory: Uint8Array): unknown } | null;
  [key: symbol]: unknown;
}

let memory: Buffer | undefined;

/** Whether it does; `take` is then called instead of 'data'. What has come before must have been read. */
export function readInPlace(socket: Socket, take: (bytes: Buffer) => void): boolean {
  const inner = socket as unknown as Inner;
  const handle = inner._handle;
  const place = keyOf(socket, 'kBuffer');
  const call = keyOf(socket, 'kBufferCb');
  if (place === undefined || call === undefined) return false;
  if (typeof handle?.useUserBuffer !== 'function') return false;
  if (inner[place] !== null || inner[call] !== null) return false;
  memory ??= Buffer.allocUnsafeSlow(LIMITS.linkReadBytes);
  const all = memory;
  let last = all;
  handle.useUserBuffer(all);
  inner[place] = all;
  inner[call] = (length: number): boolean => {
    if (last.length !== length) last = all.subarray(0, length);
    take(last);
    return true;
  };
  return true;
}

function keyOf(socket: Socket, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(socket).find((key) => key.description === description);
}
