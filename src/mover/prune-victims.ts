/**
 * Which chunks a prune rewrites: those with damaged blocks of which nothing is kept, those whose own parts are
 * damaged, others until little enough is unused, the most wasteful first, and small ones where there are many.
 *
 * Contract: only chooses among what it is given; a chunk whose damaged blocks keep something is left alone.
 */
import { LIMITS } from '../base/limits.ts';
import type { IndexedChunk } from '../index/segment-builder.ts';
import type { ChunkUsage } from './prune-usage.ts';

/** A chunk that archives need, and how much of it they do not. */
export interface Used {
  readonly number: number;
  readonly id: string;
  readonly chunk: IndexedChunk;
  readonly deadBytes: number;
}

/** A chunk that is to be rewritten. */
export interface Victim {
  readonly chunk: number;
  readonly id: string;
  readonly bytes: number;
  readonly deadBytes: number;
  /** Numbers of the other chunks that keep what archives need of it. */
  readonly relies: ReadonlySet<number>;
}

export interface VictimRules {
  readonly maxUnusedPercent: number;
  /** A chunk below this is small. */
  readonly smallBytes: number;
  /** Whether a chunk may be rewritten at all. */
  isFit(one: Used): boolean;
  /** Its header, details, footer or trailer is damaged: what it holds is to come into a whole one. */
  isFrameDamaged(one: Used): boolean;
  /** Which other chunks it relies on; undefined: that cannot be told, so it stays. */
  reliesOf(one: Used): ReadonlySet<number> | undefined;
}

/** The most wasteful first, small ones last. */
export function chooseVictims(
  used: readonly Used[],
  usage: ChunkUsage,
  rules: VictimRules,
): Victim[] {
  const { maxUnusedPercent } = rules;
  const { lastBlocks } = usage.loaded.share;
  const badOf = ({ number }: Used): readonly number[] => [...(lastBlocks?.get(number) ?? [])];
  const keepsBad = (one: Used): boolean =>
    badOf(one).some((block) => usage.blockKeeps(one.number, block) > 0);
  const fit = used.filter((one) => rules.isFit(one) && !keepsBad(one));
  const victims: Victim[] = [];
  const chosen = new Set<Used>();
  const choose = (one: Used): boolean => {
    const relies = rules.reliesOf(one);
    if (relies === undefined) return false;
    const { number, id, chunk, deadBytes } = one;
    victims.push({ chunk: number, id, bytes: chunk.bytes, deadBytes, relies });
    chosen.add(one);
    return true;
  };
  let stored = used.reduce((sum, { chunk }) => sum + chunk.bytes, 0);
  let unused = used.reduce((sum, { deadBytes }) => sum + deadBytes, 0);
  const share = (one: Used): number => one.deadBytes / one.chunk.bytes;
  const hasBad = (one: Used): boolean => badOf(one).length > 0 || rules.isFrameDamaged(one);
  const order = fit
    .filter((one) => share(one) > 0 || rules.isFrameDamaged(one))
    .sort((a, b) => share(b) - share(a));
  for (const one of [...order.filter(hasBad), ...order.filter((other) => !hasBad(other))]) {
    if (!hasBad(one) && unused * 100 <= maxUnusedPercent * stored) break;
    if (!choose(one)) continue;
    unused -= one.deadBytes;
    stored -= one.deadBytes;
  }
  if (maxUnusedPercent >= 100) return victims;
  const small = fit.filter((one) => one.chunk.bytes < rules.smallBytes && !chosen.has(one));
  for (const group of Map.groupBy(small, (one) => one.chunk.contentClass).values()) {
    if (group.length > LIMITS.smallChunksMergeAbove) for (const one of group) choose(one);
  }
  return victims;
}
