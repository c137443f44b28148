/**
 * Which thread of a command uses which tape drive: words that the threads share, one for each drive.
 *
 * Contract: a drive has one user. Who asks is answered at once, whatever other threads wait for: the main thread
 * may be waiting for this one. Drives that are not listed are everybody's.
 */
const NOBODY = 0;

/** What a thread is given of it. */
export interface DriveUsersData {
  readonly words: SharedArrayBuffer;
  /** Addresses, in the order of the words. */
  readonly devices: readonly string[];
  /** The thread, from 1. */
  readonly self: number;
}

export class DriveUsers {
  readonly #words: Int32Array;
  readonly #devices: readonly string[];
  readonly #self: number;

  constructor({ words, devices, self }: DriveUsersData) {
    this.#words = new Int32Array(words);
    this.#devices = devices;
    this.#self = self;
  }

  static words(devices: readonly string[]): SharedArrayBuffer {
    return new SharedArrayBuffer(Math.max(1, devices.length) * Int32Array.BYTES_PER_ELEMENT);
  }

  /** Takes a drive; false: another thread has it. */
  take(device: string): boolean {
    const index = this.#devices.indexOf(device);
    if (index < 0) return true;
    const user = Atomics.compareExchange(this.#words, index, NOBODY, this.#self);
    return user === NOBODY || user === this.#self;
  }

  leave(device: string): void {
    const index = this.#devices.indexOf(device);
    if (index >= 0) Atomics.compareExchange(this.#words, index, this.#self, NOBODY);
  }

  /** Also on behalf of a thread that has ended. */
  leaveAll(): void {
    for (const device of this.#devices) this.leave(device);
  }
}
