/**
 * How well a drive is kept busy: what it waited for, and how full the buffers were.
 */
import type { Clock } from '../host/mod.ts';

export interface StreamingFigures {
  readonly records: number;
  readonly bytes: number;
  /** From the first record to the end, or to now. */
  readonly totalMs: number;
  /** Time in which nothing was written, or too little to begin again, after the first record. */
  readonly waitedMs: number;
  /** How often the drive ran dry. */
  readonly waits: number;
  readonly writingMs: number;
  readonly synchronisingMs: number;
  readonly synchronisations: number;
  readonly buffers: number;
  /** Filled buffers when one was taken to be written: on average, and at least. */
  readonly filledAverage: number;
  readonly filledLeast: number;
  readonly bytesPerSecond: number;
}

/** Of two sessions, one after the other. */
export function sumFigures(a: StreamingFigures, b: StreamingFigures): StreamingFigures {
  const bytes = a.bytes + b.bytes;
  const totalMs = a.totalMs + b.totalMs;
  const records = a.records + b.records;
  const filled = a.filledAverage * a.records + b.filledAverage * b.records;
  return {
    ...{ records, bytes, totalMs, buffers: b.buffers },
    waitedMs: a.waitedMs + b.waitedMs,
    waits: a.waits + b.waits,
    writingMs: a.writingMs + b.writingMs,
    synchronisingMs: a.synchronisingMs + b.synchronisingMs,
    synchronisations: a.synchronisations + b.synchronisations,
    filledAverage: records === 0 ? 0 : filled / records,
    filledLeast: Math.min(a.filledLeast, b.filledLeast),
    bytesPerSecond: totalMs > 0 ? (bytes * 1000) / totalMs : 0,
  };
}

export class StreamingMeter {
  readonly #clock: Clock;
  readonly #buffers: number;
  #firstMs: number | undefined;
  #endedMs: number | undefined;
  #records = 0;
  #bytes = 0;
  #waitedMs = 0;
  #waits = 0;
  #writingMs = 0;
  #synchronisingMs = 0;
  #synchronisations = 0;
  #filledSum = 0;
  #filledLeast = Number.POSITIVE_INFINITY;
  #samples = 0;

  constructor(clock: Clock, buffers: number) {
    this.#clock = clock;
    this.#buffers = buffers;
  }

  now(): number {
    return this.#clock.monotonicMs();
  }

  filled(buffers: number): void {
    this.#samples += 1;
    this.#filledSum += buffers;
    if (buffers < this.#filledLeast) this.#filledLeast = buffers;
  }

  /** @param isDry there was nothing to write; else it was held back until there is more */
  waited(sinceMs: number, isDry: boolean): void {
    if (this.#firstMs === undefined) return;
    this.#waitedMs += this.now() - sinceMs;
    if (isDry) this.#waits += 1;
  }

  wrote(sinceMs: number, bytes: number): void {
    this.#firstMs ??= sinceMs;
    this.#writingMs += this.now() - sinceMs;
    this.#records += 1;
    this.#bytes += bytes;
  }

  synchronised(sinceMs: number): void {
    this.#synchronisingMs += this.now() - sinceMs;
    this.#synchronisations += 1;
  }

  ended(): void {
    this.#endedMs = this.now();
  }

  figures(): StreamingFigures {
    const totalMs = (this.#endedMs ?? this.now()) - (this.#firstMs ?? this.now());
    return {
      records: this.#records,
      bytes: this.#bytes,
      totalMs,
      waitedMs: this.#waitedMs,
      waits: this.#waits,
      writingMs: this.#writingMs,
      synchronisingMs: this.#synchronisingMs,
      synchronisations: this.#synchronisations,
      buffers: this.#buffers,
      filledAverage: this.#samples === 0 ? 0 : this.#filledSum / this.#samples,
      filledLeast: this.#samples === 0 ? 0 : this.#filledLeast,
      bytesPerSecond: totalMs > 0 ? (this.#bytes * 1000) / totalMs : 0,
    };
  }
}
