/**
 * Connections of which it is not known that they are from paired machines.
 *
 * Contract: their number is bounded, and so is the time for which each may stay one. When one more
 * comes, the oldest of the address that has most of them gives way: whoever opens many ends their own.
 */
import type { Socket } from 'node:net';
import { addressKey } from './addresses.ts';

interface Stranger {
  readonly address: string;
  readonly sinceMs: number;
}

export class Strangers {
  readonly #max: number;
  readonly #lastMs: number;
  readonly #clockMs: () => number;
  /** Oldest first. */
  readonly #all = new Map<Socket, Stranger>();

  /**
   * @param max     how many there may be
   * @param lastMs  how long each may be one
   * @param clockMs a clock that only grows
   */
  constructor(max: number, lastMs: number, clockMs: () => number) {
    this.#max = max;
    this.#lastMs = lastMs;
    this.#clockMs = clockMs;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Adds one; false when another was ended for it. */
  add(socket: Socket): boolean {
    const address = addressKey(socket.remoteAddress ?? '');
    this.#all.set(socket, { address, sinceMs: this.#clockMs() });
    if (this.#all.size <= this.#max) return true;
    this.#oldestOfGreediest()?.destroy();
    return false;
  }

  /** It is known now, or it is gone. */
  remove(socket: Socket): void {
    this.#all.delete(socket);
  }

  endAll(): void {
    for (const socket of [...this.#all.keys()]) this.#end(socket);
  }

  /** Ends those that had time enough to say who they are. */
  endOld(): void {
    const endMs = this.#clockMs() - this.#lastMs;
    for (const [socket, { sinceMs }] of [...this.#all]) if (sinceMs < endMs) this.#end(socket);
  }

  #end(socket: Socket): void {
    this.#all.delete(socket);
    socket.destroy();
  }

  /** Takes it out at once: a socket that is destroyed tells so only later. */
  #oldestOfGreediest(): Socket | undefined {
    const counts = new Map<string, number>();
    let most = '';
    for (const { address } of this.#all.values()) {
      const count = (counts.get(address) ?? 0) + 1;
      counts.set(address, count);
      if (count > (counts.get(most) ?? 0)) most = address;
    }
    for (const [socket, { address }] of this.#all) {
      if (address !== most) continue;
      this.#all.delete(socket);
      return socket;
    }
    return undefined;
  }
}
