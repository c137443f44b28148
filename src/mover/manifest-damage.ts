/**
 * What of an archive's manifest cannot be read: each part told once, in words that say which
 * entries are lost.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { gapHolds, type ManifestGap } from '../modules/manifest-cursor.ts';

/** The gaps of one archive, as its readers come to them, each maybe more than once. */
export class ManifestDamage {
  readonly #gaps = new Map<string, ManifestGap>();
  readonly #tell: (error: PenstockError, firstPath: ByteString) => void;

  /** `tell` gets the path of the first entry that is lost too. */
  constructor(tell: (error: PenstockError, firstPath: ByteString) => void) {
    this.#tell = tell;
  }
  /** Takes a gap; a function of its own, to be handed on. */
  readonly note = (gap: ManifestGap): void => {
    const key = gap.ref.name.toString('latin1');
    if (this.#gaps.has(key)) return;
    this.#gaps.set(key, gap);
    this.#tell(gapError(gap), gap.ref.path);
  };
  /** Whether the entry of a path, if there is one, is lost in a gap that was noted. */
  holds(path: ByteString): boolean {
    if (this.#gaps.size === 0) return false;
    for (const gap of this.#gaps.values()) if (gapHolds(gap, path)) return true;
    return false;
  }
}

/** Says what is lost, and why. */
export function gapError({ ref, until, error }: ManifestGap): PenstockError {
  const { entries, path } = ref;
  const count = entries === 1 ? '1 entry is lost' : `${entries} entries are lost`;
  const end = until === undefined ? 'to the last' : `up to before ${toDisplay(`/${until}`)}`;
  const lost = `${count}, from ${toDisplay(`/${path}`)} ${end}`;
  return new PenstockError(
    error.code,
    `part of the archive's manifest cannot be read: ${lost}: ${error.message}`,
    { cause: error, subject: path, hint: error.hint },
  );
}
