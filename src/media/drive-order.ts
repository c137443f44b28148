/**
 * In which order ranges of chunks are read from volumes: those of one volume, as they lie there; then those of
 * the next.
 */

/** Where a range lies. */
export interface RangePlace {
  /** Id of the volume; undefined where that cannot be told, and reading says why. */
  readonly volume: string | undefined;
  /** The first object of its run; undefined: the log of its chunk is not known yet. */
  readonly object: number | undefined;
  readonly position: number;
}

/** The volume that is read next: the one of the least rank. */
export function nextVolume(
  places: readonly RangePlace[],
  rankOf: (volume: string) => number,
): string | undefined {
  let best: string | undefined;
  for (const { volume } of places)
    if (volume !== undefined && (best === undefined || rankOf(volume) < rankOf(best)))
      best = volume;
  return best;
}

/** What is read on a volume, by the places' numbers, from its beginning to its end. */
export function inOrderOn(volume: string | undefined, places: readonly RangePlace[]): number[] {
  const mine: { index: number; object: number; position: number }[] = [];
  for (const [index, one] of places.entries())
    if (one.volume === undefined || one.volume === volume)
      mine.push({ index, object: one.object ?? -1, position: one.position });
  mine.sort((a, b) => a.object - b.object || a.position - b.position);
  return mine.map(({ index }) => index);
}
