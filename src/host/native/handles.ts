/**
 * What native libraries keep for an object of ours, outside of JavaScript's memory.
 *
 * Contract: it is freed once: when it is asked for, when its owner is collected as garbage, or when the thread exits
 * (not when it is terminated). The memory is not the thread's: without this, every thread that ends would leave it.
 */
import { isMainThread } from 'node:worker_threads';

type Free = () => void;

/** What is not freed yet, of this thread. */
const live = new Set<Free>();
const collected = new FinalizationRegistry<Free>(release);

/**
 * Has `free` called in time. It must not refer to its owner.
 *
 * @returns frees it now; to be called again does nothing
 */
export function freeWith(owner: object, free: Free): Free {
  if (!isMainThread && !process.listeners('exit').includes(releaseAll)) {
    process.once('exit', releaseAll);
  }
  live.add(free);
  collected.register(owner, free);
  return () => release(free);
}

function release(free: Free): void {
  if (live.delete(free)) free();
}

function releaseAll(): void {
  for (const free of live) release(free);
}
