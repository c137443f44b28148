/**
 * Memory that a process keeps although nobody needs it, tens of megabytes each: the C library gives
 * every thread a heap (arena) of its own, which keeps what the thread once used; what was large and
 * freed raises the size from which memory is given back to the system; and V8 lets the space for young
 * objects of a busy thread grow to 64 MiB.
 */
import { setFlagsFromString } from 'node:v8';
import { loadProgram } from './libc.ts';

/** Parameters of glibc's mallopt. */
const TRIM_THRESHOLD = -1;
const MMAP_THRESHOLD = -3;
const ARENA_MAX = -8;

const ARENAS = 2;
const GIVE_BACK_BYTES = 256 * 1024;

/**
 * For programs that call it before their work: all threads share two heaps, pieces of 256 KiB and more go
 * back to the system at once, and the space for young objects stays at its first size. Without effect
 * where the C library has no such settings.
 */
export function keepMemorySmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  try {
    const mallopt = loadProgram().declare('mallopt', 'int', ['int', 'int']);
    mallopt(ARENA_MAX, ARENAS);
    mallopt(MMAP_THRESHOLD, GIVE_BACK_BYTES);
    mallopt(TRIM_THRESHOLD, GIVE_BACK_BYTES);
  } catch {
    // Not glibc: its heaps are as they are.
  }
}
