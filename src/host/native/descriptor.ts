/**
 * A second descriptor of what a descriptor names: how an open socket is handed from one thread to
 * another, since the object that has it cannot leave its thread.
 *
 * Contract: the new one belongs to the caller, and is closed when the process starts another program.
 */
import { answer, loadProgram } from './libc.ts';

const F_DUPFD_CLOEXEC = 1030;

/** The new descriptor, or a negative errno. */
export function duplicateDescriptor(descriptor: number): number {
  const fcntl = loadProgram().declare('fcntl', 'int', ['int', 'int', 'int64_t']);
  return answer(fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}
