/**
 * In which order a plan's chunks are condemned.
 *
 * Contract: a chunk that relies on others is condemned only once none of these is still to be
 * rewritten, and then relies on the chunks in which their blobs are now. So no chunk is relied on and
 * condemned at once, by this prune, and none of its records keeps another from being carried out.
 */

import type { CondemnedChunk } from './protocol-store.ts';
import type { PrunePlan } from './prune-plan.ts';
import type { Victim } from './prune-victims.ts';

/** A chunk that may be condemned once nothing that it relies on is still to be rewritten. */
export interface CondemnedEntry {
  readonly id: string;
  readonly bytes: number;
  readonly relies: Set<string>;
}

export function toCondemned({ id, relies }: CondemnedEntry): CondemnedChunk {
  return { id, relies: [...relies] };
}

/** Which chunks can be condemned when: chunks that they rely on may be rewritten first. */
export class Condemning {
  readonly #ids: readonly string[];
  readonly #ready: { readonly entry: CondemnedEntry; readonly relies: ReadonlySet<number> }[] = [];
  /** Chunks that are still to be rewritten. */
  readonly #left = new Set<number>();
  readonly #moved = new Map<number, ReadonlySet<string>>();

  constructor(plan: PrunePlan) {
    this.#ids = plan.usage.loaded.share.chunkIds;
    for (const { chunk } of plan.victims) this.#left.add(chunk);
    for (const { id, bytes, relies } of plan.dead) {
      this.#ready.push({ entry: { id, bytes, relies: new Set() }, relies });
    }
  }

  /** A chunk was rewritten, to these chunks; undefined: it could not be, and stays. */
  rewritten({ chunk, id, bytes, relies }: Victim, to: ReadonlySet<string> | undefined): void {
    this.#left.delete(chunk);
    if (to === undefined) return;
    this.#moved.set(chunk, to);
    this.#ready.push({ entry: { id, bytes, relies: new Set(to) }, relies });
  }

  /** Takes what can be condemned now. */
  takeReady(): CondemnedEntry[] {
    const taken: CondemnedEntry[] = [];
    for (let i = this.#ready.length - 1; i >= 0; i--) {
      const one = this.#ready[i];
      if (one === undefined || [...one.relies].some((chunk) => this.#left.has(chunk))) continue;
      this.#ready.splice(i, 1);
      for (const chunk of one.relies) {
        for (const id of this.#moved.get(chunk) ?? [this.#ids[chunk] ?? ''])
          one.entry.relies.add(id);
      }
      taken.push(one.entry);
    }
    return taken;
  }
}
