/**
 * Counts by network address: connections, and attempts in a while.
 *
 * Contract: bounded whatever comes. Of IPv6 the first 64 bits count as one address, since whoever
 * has one of them usually has them all.
 */
import { isIPv6 } from 'node:net';

/** What counts as one address. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [plain = ''] = address.split('%');
  if (!isIPv6(plain)) return plain;
  const [before = '', after] = plain.split('::');
  const head = before === '' ? [] : before.split(':');
  const tail = after === undefined || after === '' ? [] : after.split(':');
  const zeros = after === undefined ? 0 : Math.max(0, 8 - head.length - tail.length);
  const groups = [...head, ...new Array<string>(zeros).fill('0'), ...tail];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

/** How many there are of each address, up to a maximum. */
export class CountedAddresses {
  readonly #max: number;
  readonly #counts = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Counts one more; false when there are as many as there may be. */
  add(address: string): boolean {
    const key = addressKey(address);
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#max) return false;
    this.#counts.set(key, count + 1);
    return true;
  }

  remove(address: string): void {
    const key = addressKey(address);
    const count = this.#counts.get(key) ?? 0;
    if (count > 1) this.#counts.set(key, count - 1);
    else this.#counts.delete(key);
  }
}

/** How often each address tried something in the current window of time. */
export class Attempts {
  readonly #max: number;
  readonly #addressesMax: number;
  readonly #windowMs: number;
  readonly #clockMs: () => number;
  readonly #counts = new Map<string, number>();
  #endMs = 0;

  /** @param clockMs a clock that only grows */
  constructor(max: number, addressesMax: number, windowMs: number, clockMs: () => number) {
    this.#max = max;
    this.#addressesMax = addressesMax;
    this.#windowMs = windowMs;
    this.#clockMs = clockMs;
  }

  /** Counts an attempt; false when it is one too many, from there or of all together. */
  allow(address: string): boolean {
    const nowMs = this.#clockMs();
    if (nowMs >= this.#endMs) {
      this.#counts.clear();
      this.#endMs = nowMs + this.#windowMs;
    }
    const key = addressKey(address);
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#max) return false;
    if (count === 0 && this.#counts.size >= this.#addressesMax) return false;
    this.#counts.set(key, count + 1);
    return true;
  }
}
