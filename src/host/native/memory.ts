/**
 * The C library's heaps. Each thread gets a heap (arena) of its own by default, which keeps what
 * the thread once used: with many threads, tens of megabytes that nobody needs.
 */
import { loadProgram } from './libc.ts';

/** glibc's M_ARENA_MAX. */
const ARENA_MAX = -8;

/** Lets all threads share `count` heaps. Without effect where the C library has no such setting. */
export function shareHeaps(count: number): void {
  try {
    loadProgram().declare('mallopt', 'int', ['int', 'int'])(ARENA_MAX, count);
  } catch {
    // Not glibc: its heaps are as they are.
  }
}
