/**
 * The C library's heaps. Each thread gets a heap (arena) of its own by default, which keeps what
 * the thread once used; and what was large and freed raises the size from which memory is given back
 * to the system. With many threads both are tens of megabytes that nobody needs.
 */
import { loadProgram } from './libc.ts';

/** Parameters of glibc's mallopt. */
const TRIM_THRESHOLD = -1;
const MMAP_THRESHOLD = -3;
const ARENA_MAX = -8;

const GIVE_BACK_BYTES = 256 * 1024;

/**
 * Lets all threads share `count` heaps, and gives pieces of 256 KiB and more back to the system at once.
 * Without effect where the C library has no such settings.
 */
export function shareHeaps(count: number): void {
  try {
    const mallopt = loadProgram().declare('mallopt', 'int', ['int', 'int']);
    mallopt(ARENA_MAX, count);
    mallopt(MMAP_THRESHOLD, GIVE_BACK_BYTES);
    mallopt(TRIM_THRESHOLD, GIVE_BACK_BYTES);
  } catch {
    // Not glibc: its heaps are as they are.
  }
}
