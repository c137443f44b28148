/**
 * What was measured: samples by work and program, and their medians.
 */

/** What is measured of a work. */
export type Unit =
  | 'ms'
  | 'bytes'
  | 'peak bytes'
  | 'other records'
  | 'cpu seconds'
  | 'bytes a second'
  /** Share of the time, from 0 to 1. */
  | 'waited'
  | 'ratio';

export class Figures {
  readonly #samples = new Map<string, number[]>();
  readonly #works: string[] = [];

  add(work: string, program: string, unit: Unit, value: number): void {
    if (!this.#works.includes(work)) this.#works.push(work);
    const key = `${work}\n${program}\n${unit}`;
    const samples = this.#samples.get(key);
    if (samples === undefined) this.#samples.set(key, [value]);
    else samples.push(value);
  }

  /** In the order in which they were measured first. */
  get works(): readonly string[] {
    return this.#works;
  }

  /** The median, or undefined where nothing was measured. */
  of(work: string, program: string, unit: Unit): number | undefined {
    const samples = this.#samples.get(`${work}\n${program}\n${unit}`);
    return samples === undefined ? undefined : median(samples);
  }

  /** The most memory that a program took for any of the works. */
  peakBytes(program: string): number {
    return Math.max(0, ...this.#works.map((work) => this.of(work, program, 'peak bytes') ?? 0));
  }

  toJson(): unknown[] {
    return [...this.#samples].map(([key, samples]) => {
      const [work, program, unit] = key.split('\n');
      return { work, program, unit, median: median(samples), samples };
    });
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}
