/**
 * The pipes of this machine that its monitor knows: their state, who may see and stop them.
 *
 * Contract: a name is known once, whether the pipe waits in the queue, runs in the monitor, or runs in a
 * command that has told of it. Rates are taken every second while there are pipes. A pipe leaves the list
 * when it is over, or when what was added is taken away.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Pipe } from '../pipe/mod.ts';
import { type PipeFacts, PipeMeter, type PipeView } from './pipe-view.ts';

/** What a monitor needs to know of a pipe. */
export interface RegisteredPipe {
  readonly name: string;
  /** Fingerprint of the paired machine that began it; undefined: this one. */
  readonly owner: string | undefined;
  /** It runs in this process. */
  readonly isOwn: boolean;
  /** Settles when it is over. */
  readonly done: Promise<unknown>;
  view(): PipeView;
  /** Called every second. */
  sample?(): void;
  stop(reason: PenstockError): Promise<void>;
}

/** A pipe of this process, for the registry. */
export function registered(
  pipe: Pipe,
  facts: PipeFacts & Pick<RegisteredPipe, 'owner' | 'stop'>,
): RegisteredPipe {
  const meter = new PipeMeter(pipe, facts);
  return {
    name: pipe.name,
    owner: facts.owner,
    isOwn: true,
    done: pipe.done,
    view: () => meter.view(),
    sample: () => meter.sample(),
    stop: (reason) => facts.stop(reason),
  };
}

export class PipeRegistry {
  readonly #entries = new Map<string, RegisteredPipe>();
  #timer: NodeJS.Timeout | undefined;

  /**
   * Adds a pipe until it is over; returns the call that takes it away before.
   *
   * @throws PIPE_CONFIG its name is taken
   */
  add(entry: RegisteredPipe): () => void {
    const { name } = entry;
    this.refuseTaken(name);
    this.#entries.set(name, entry);
    this.#timer ??= setInterval(() => this.#sample(), LIMITS.pipeRateMs).unref();
    const remove = (): void => this.#remove(entry);
    entry.done.then(remove, remove);
    return remove;
  }

  /** PIPE_CONFIG where there is a pipe of this name. */
  refuseTaken(name: string): void {
    if (!this.#entries.has(name)) return;
    throw new PenstockError('PIPE_CONFIG', `there is a pipe ${name} already`);
  }

  /** Resolves when a pipe of this name and owner that is being stopped is over, at once where none is. */
  async ended(name: string, owner: string): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry?.owner !== owner || !entry.view().stopping) return;
    await entry.done.catch(() => {});
  }

  /** How many there are in a state. */
  count(state: PipeView['state']): number {
    return this.#all().filter((entry) => entry.view().state === state).length;
  }

  /** Bytes of all segments. */
  get segmentBytes(): number {
    return this.#all().reduce((sum, entry) => sum + entry.view().segmentBytes, 0);
  }

  /** The pipes that `maySee` says. */
  list(maySee: (pipe: RegisteredPipe) => boolean): PipeView[] {
    return this.#all()
      .filter(maySee)
      .map((entry) => entry.view());
  }

  /** Stops a pipe; resolves when it is over. PIPE_UNKNOWN, also for one that may not be seen. */
  async stop(
    name: string,
    reason: PenstockError,
    maySee: (pipe: RegisteredPipe) => boolean,
  ): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined || !maySee(entry)) {
      throw new PenstockError('PIPE_UNKNOWN', `there is no pipe ${name}`, { subject: name });
    }
    await entry.stop(reason);
  }

  /** Stops those that `which` says. */
  async stopAll(reason: PenstockError, which = (_pipe: RegisteredPipe) => true): Promise<void> {
    await Promise.all(
      this.#all()
        .filter(which)
        .map((entry) => entry.stop(reason)),
    );
  }

  /** Resolves once no pipe that `which` says is there, or the time has passed. */
  async drained(withinMs: number, which = (_pipe: RegisteredPipe) => true): Promise<void> {
    const over = Promise.allSettled(
      this.#all()
        .filter(which)
        .map(({ done }) => done),
    );
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([over, late]);
    clearTimeout(timer);
  }

  #all(): RegisteredPipe[] {
    return [...this.#entries.values()];
  }

  #remove(entry: RegisteredPipe): void {
    if (this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name);
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sample(): void {
    for (const entry of this.#entries.values()) entry.sample?.();
  }
}
