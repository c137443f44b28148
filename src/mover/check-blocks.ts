/**
 * The blocks that a check cannot read: what is wrong with each, and whether it matters. Where all that a
 * block held stands elsewhere too, nothing is lost: that is a note, and no damage.
 */

import type { DamageList } from './check-damage.ts';
import type { BlockAt } from './damage-notes.ts';

interface Facts {
  readonly messages: Set<string>;
  /** The block itself is damaged, not what the index says of it: that is worth noting. */
  isBlock: boolean;
}

export class BadBlocks {
  /** By chunk and offset. */
  readonly #blocks = new Map<string, Map<number, Facts>>();

  add({ chunk, offset }: BlockAt, message: string, isBlock: boolean): void {
    const blocks = this.#blocks.get(chunk) ?? new Map<number, Facts>();
    const facts = blocks.get(offset) ?? { messages: new Set(), isBlock };
    facts.messages.add(message);
    facts.isBlock ||= isBlock;
    blocks.set(offset, facts);
    this.#blocks.set(chunk, blocks);
  }

  has(chunk: string, offset: number): boolean {
    return this.#blocks.get(chunk)?.has(offset) === true;
  }

  /** Those to be noted. */
  found(): BlockAt[] {
    const found: BlockAt[] = [];
    for (const [chunk, blocks] of this.#blocks)
      for (const [offset, { isBlock }] of blocks) if (isBlock) found.push({ chunk, offset });
    return found;
  }

  /** Reports the blocks of which something stands nowhere else; returns what is to be said of the others. */
  tell(damages: DamageList, isElsewhere: (chunk: string) => ReadonlySet<number>): string[] {
    const notes: string[] = [];
    for (const [chunk, blocks] of this.#blocks) {
      const elsewhere = isElsewhere(chunk);
      for (const [offset, { messages }] of blocks) {
        for (const message of messages) {
          if (!elsewhere.has(offset)) damages.report('chunk', chunk, message);
          else notes.push(`chunk ${chunk}: ${message}; ${ELSEWHERE}`);
        }
      }
    }
    return notes;
  }
}

const ELSEWHERE = 'all that it held stands elsewhere too, and `penstock prune` lets it go';
