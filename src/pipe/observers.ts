/**
 * Who wants to know of the pipes that this process starts: a command that tells its machine's monitor of
 * them. Apart and without imports, so that asking for it loads nothing of the pipe.
 */
import type { Pipe } from './pipe.ts';

type PipeObserver = (pipe: Pipe) => void;

const observers = new Set<PipeObserver>();

/** From now on `observer` is called with each pipe that is started; returns the call that ends it. */
export function observePipes(observer: PipeObserver): () => void {
  observers.add(observer);
  return () => void observers.delete(observer);
}

export function tellObservers(pipe: Pipe): void {
  for (const observer of observers) observer(pipe);
}
