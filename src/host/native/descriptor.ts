/**
 * Descriptors that one thread hands to another, since the objects that have them cannot leave their thread: a
 * second one of an open socket, and pairs of sockets that are connected to each other.
 *
 * Contract: the new ones belong to the caller, and are closed when the process starts another program.
 */
import { declareCall, loadProgram } from './libc.ts';

const F_DUPFD_CLOEXEC = 1030;

/** The new descriptor, or a negative errno. */
export function duplicateDescriptor(descriptor: number): number {
  const fcntl = declareCall(loadProgram(), 'fcntl', 'int', ['int', 'int', 'int64_t']);
  return fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2_000_000;

/** Two sockets, each the other end of the other one; undefined where there are no descriptors left. */
export function socketPair(): readonly [number, number] | undefined {
  const parameters = ['int', 'int', 'int', 'void *'];
  const socketpair = declareCall(loadProgram(), 'socketpair', 'int', parameters);
  const pair = Buffer.alloc(8);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return undefined;
  return [pair.readInt32LE(0), pair.readInt32LE(4)];
}
