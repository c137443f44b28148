/**
 * What the reading through of a volume (volume-verify.ts) has found.
 */
import { LIMITS } from '../base/limits.ts';

export const FINDINGS = [
  /** The drive cannot read it. */
  'unreadable',
  /** It was read, and its contents are wrong. */
  'damaged',
  /** A part of a chunk is missing, or at a wrong place. */
  'order',
  /** A log or the index does not say what is there. */
  'log',
  /** The label is not what the repository has written. */
  'label',
  /** The repository counts on a chunk that is not there as a whole. */
  'chunk',
] as const;
export type FindingKind = (typeof FINDINGS)[number];

export interface VolumeFinding {
  readonly kind: FindingKind;
  /** Where; absent of what is not there. */
  readonly object?: number;
  readonly message: string;
  /** The chunk that it concerns, as far as that is known. */
  readonly chunk?: string;
}

/** Finding after finding: all are counted, the first of each kind kept. */
export class VolumeFindings {
  readonly #list: VolumeFinding[] = [];
  readonly #counts = new Map<FindingKind, number>();

  add(finding: VolumeFinding): void {
    const count = (this.#counts.get(finding.kind) ?? 0) + 1;
    this.#counts.set(finding.kind, count);
    if (count <= LIMITS.volumeFindingsMax) this.#list.push(finding);
  }

  /** Of a log many findings come at once. */
  addMore(kind: FindingKind, count: number): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + count);
  }

  /** The log tells what an object was that could not be read. */
  explain(object: number, chunk: string, what: string): void {
    for (const [i, finding] of this.#list.entries()) {
      if (finding.object !== object || finding.chunk !== undefined) continue;
      if (finding.kind === 'unreadable' || finding.kind === 'damaged')
        this.#list[i] = { ...finding, chunk, message: `${finding.message}; it was ${what}` };
    }
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** In the order of their objects; those of none come last. */
  list(): VolumeFinding[] {
    const at = ({ object }: VolumeFinding): number => object ?? Number.POSITIVE_INFINITY;
    return this.#list.toSorted((a, b) => at(a) - at(b) || 0);
  }
}
