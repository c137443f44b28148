/**
 * Memory that a process keeps although nobody needs it, tens of megabytes each: the C library gives
 * every thread a heap (arena) of its own, which keeps what the thread once used; and what was large and
 * freed raises the size from which memory is given back to the system. (What V8 takes for young objects each thread's
 * resource limits say.) V8 optimizes code in threads beside each
 * of ours, with tens of megabytes in the heaps of these.
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

/**
 * As `keepMemorySmall`, for programs with more threads of their own than processors: each optimizes its code
 * itself, since other threads would only take turns with it. Of threads that are started from now on.
 */
export function keepManyThreadsSmall(): void {
  process.getBuiltinModule('node:v8').setFlagsFromString('--no-concurrent-recompilation');
  keepMemorySmall();
}
