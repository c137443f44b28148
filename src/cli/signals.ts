/**
 * Interruption (U5): the first signal asks for an orderly stop, the second ends it all at once.
 *
 * Contract: SIGINT, SIGTERM and SIGHUP are alike. The first one aborts the invocation's signal; the
 * second one runs the registered callbacks, which must be short and synchronous, and ends the
 * process with status 130 even if a thread is stuck in a system call.
 */
import { EXIT, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class Interruption {
  readonly #controller: AbortController = new AbortController();
  readonly #callbacks: Set<() => void> = new Set();
  readonly #tell: (text: string) => void;
  readonly #endAtOnce: (status: number) => void;
  #signals = 0;

  /** @param tell shows a message whatever the output's mode is */
  constructor(tell: (text: string) => void, endAtOnce: (status: number) => void = endProcess) {
    this.#tell = tell;
    this.#endAtOnce = endAtOnce;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Begins to listen; returns the call that ends it. */
  listen(): () => void {
    const receive = (name: NodeJS.Signals): void => this.receive(name);
    for (const name of SIGNALS) process.on(name, receive);
    return () => {
      for (const name of SIGNALS) process.off(name, receive);
    };
  }

  /** What a signal does. */
  receive(name: string): void {
    this.#signals++;
    if (this.#signals > 1) {
      this.runHardExits();
      this.#endAtOnce(EXIT.interrupted);
      return;
    }
    this.#tell('penstock: stopping in order, press again to end at once');
    this.stop(new PenstockError('INTERRUPTED', `interrupted by ${name}`));
  }

  /** Asks for an orderly stop. */
  stop(reason: PenstockError): void {
    this.#controller.abort(reason);
  }

  onHardExit(callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }

  /** Runs the callbacks, last registered first; what one throws does not stop the others. */
  runHardExits(): void {
    for (const callback of [...this.#callbacks].reverse()) {
      try {
        callback();
      } catch {
        // There is nobody left to tell, and the process must end.
      }
    }
  }
}

/**
 * Ends the process now. `process.exit` waits for the worker threads, and so for ever for one that
 * is stuck in a system call (opening a FIFO, a dead mount); executing another program does not.
 */
export function endProcess(status: number): void {
  try {
    process.execve?.('/bin/sh', ['sh', '-c', `exit ${status}`], {});
  } catch {
    // Not on this system.
  }
  process.exit(status);
}

/** Ends the process by force if something keeps it running well after its work is done. */
export function endWithin(status: number): void {
  // Unreferenced: it fires only if something else still holds the process.
  setTimeout(() => endProcess(status), LIMITS.exitGraceMs).unref();
}
