/**
 * Memory that a process keeps although nobody needs it, tens of megabytes each: the C library gives
 * every thread a heap (arena) of its own, which keeps what the thread once used; and what was large and
 * freed raises the size from which memory is given back to the system. (V8 would let the space for young
 * objects of a busy thread grow to 64 MiB: bin/penstock.js sees to that.)
 */
import { loadProgram } from './libc.ts';

/** Parameters of glibc's mallopt. */
const TRIM_THRESHOLD = -1;
const MMAP_THRESHOLD = -3;
const ARENA_MAX = -8;

const ARENAS = 2;
const GIVE_BACK_BYTES = 256 * 1024;

/**
 * For programs that call it before their work: all threads share two heaps, and pieces of 256 KiB and more
 * go back to the system at once. Without effect where the C library has no such settings.
 */
export function keepMemorySmall(): void {
  try {
    const mallopt = loadProgram().declare('mallopt', 'int', ['int', 'int']);
    mallopt(ARENA_MAX, ARENAS);
    mallopt(MMAP_THRESHOLD, GIVE_BACK_BYTES);
    mallopt(TRIM_THRESHOLD, GIVE_BACK_BYTES);
  } catch {
    // Not glibc: its heaps are as they are.
  }
}
