/**
 * An instance beside the event loop of the thread that starts its pipe, instead of a thread of its own
 * (P7): it costs neither a start nor a heap nor loading its code once more.
 *
 * Contract: for modules that wait by promises alone (`runAsync`). To its handle it looks like a Worker that
 * runs one plan and exits. It cannot be ended from outside: it stops at its next wait, as any other.
 */
import { EventEmitter } from 'node:events';
import { MessageChannel, type MessagePort, type Transferable } from 'node:worker_threads';
import type { ToInstance, WorkerPlan } from './messages.ts';

export class OwnThread extends EventEmitter {
  readonly #near: MessagePort;
  readonly #far: MessagePort;
  #code = 0;

  constructor() {
    super();
    const { port1, port2 } = new MessageChannel();
    this.#near = port1;
    this.#far = port2;
    port1.on('message', (message) => this.emit('message', message));
    port1.once('close', () => this.emit('exit', this.#code));
  }

  postMessage(message: ToInstance, _transfer?: readonly Transferable[]): void {
    if (message.type === 'plan') void this.#run(message.plan);
    else this.#near.postMessage(message);
  }

  /** Nothing can be done but wait for it. */
  terminate(): void {}

  unref(): void {
    this.#near.unref();
  }

  async #run(plan: WorkerPlan): Promise<void> {
    try {
      const { runBeside } = await import('./runner.ts');
      // As a thread would get them: nobody shares what is not meant to be shared.
      const modules = structuredClone(plan.modules);
      await runBeside({ ...plan, modules, keepsThread: false }, this.#far);
    } catch (thrown) {
      this.#code = 1;
      this.emit('error', thrown);
    }
    // What was said before arrives before that.
    this.#far.close();
  }
}
