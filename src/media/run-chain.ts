/**
 * Which runs of a chunk's records are the chunk: those that follow each other from its first part to its last.
 *
 * Contract: records may have been written twice, as where a medium has ended and what was not safe on it was
 * written again on the next one, or where a drive has lost what it held. Runs then overlap: any way from the
 * beginning to the end is the chunk, and of two the one written later is taken. Two runs of which one begins within
 * the other join only if the first is told record by record.
 */

export interface LinkedRun {
  /** The first part, and how many there are. */
  readonly part: number;
  readonly records: number;
  /** The last one is the last of the chunk. */
  readonly isLast: boolean;
}

/**
 * The runs of the chunk in the order of their parts; nothing where they are not all of it.
 *
 * @param runs in the order in which they were written
 */
export function wholeChain<Run extends LinkedRun>(runs: readonly Run[]): Run[] | undefined {
  /** By its number the run by which each part is reached, of those before which nothing is missing. */
  const before = new Map<number, number>([[0, -1]]);
  let last = -1;
  for (const [number, run] of [...runs.entries()].sort(([, a], [, b]) => a.part - b.part)) {
    const end = run.part + run.records;
    if (!before.has(run.part) || end <= run.part) continue;
    before.set(end, Math.max(number, before.get(end) ?? -1));
    if (run.isLast) last = Math.max(last, number);
  }
  const chain: Run[] = [];
  for (let run = runs[last]; run !== undefined; run = runs[before.get(run.part) ?? -1])
    chain.push(run);
  return last < 0 ? undefined : chain.reverse();
}
