/**
 * Lists of objects that clients fetch page by page.
 *
 * Contract: a list is read and sorted once, at its first page, and the pages that follow come out of it, so
 * that all pages together cost what one list costs. A page may be asked for again. Lists are kept for a short
 * while and within a bound of objects; one that is no longer there is read again, from where its client is.
 */
import { LIMITS } from '../base/limits.ts';
import type { StoredObject } from '../format/object-store.ts';

export interface ListPage {
  readonly objects: readonly StoredObject[];
  readonly more: boolean;
}

interface Kept {
  readonly objects: readonly StoredObject[];
  usedMs: number;
}

export class Listings {
  readonly #monotonicMs: () => number;
  /** The one used last is the last. */
  readonly #kept = new Map<string, Kept>();

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  /**
   * The page behind the name `after`, or the first one.
   *
   * @param key who lists what
   * @param list reads all objects, in any order
   */
  async page(
    key: string,
    after: string | undefined,
    list: () => Promise<StoredObject[]>,
  ): Promise<ListPage> {
    this.#expire();
    const known = after === undefined ? undefined : this.#kept.get(key)?.objects;
    this.#kept.delete(key);
    const all = known ?? (await list()).sort((a, b) => (a.name < b.name ? -1 : 1));
    const from = after === undefined ? 0 : firstBehind(all, after);
    const objects = all.slice(from, from + LIMITS.listPageObjects);
    const more = from + objects.length < all.length;
    if (more) this.#keep(key, all);
    return { objects, more };
  }

  #keep(key: string, objects: readonly StoredObject[]): void {
    this.#kept.set(key, { objects, usedMs: this.#monotonicMs() });
    let count = 0;
    for (const kept of this.#kept.values()) count += kept.objects.length;
    for (const [oldest, kept] of this.#kept) {
      if (count <= LIMITS.listingObjectsMax) return;
      this.#kept.delete(oldest);
      count -= kept.objects.length;
    }
  }

  #expire(): void {
    const nowMs = this.#monotonicMs();
    for (const [key, { usedMs }] of this.#kept)
      if (nowMs - usedMs > LIMITS.listingKeptMs) this.#kept.delete(key);
  }
}

/** Number of the first object behind a name. */
function firstBehind(sorted: readonly StoredObject[], name: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle]?.name ?? '') > name) high = middle;
    else low = middle + 1;
  }
  return low;
}
