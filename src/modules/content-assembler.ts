/**
 * Collects the content records of one large file, region by region, in order. A short list ends up in
 * the entry; a long one is stored as blobs, level by level (format/content.ts), so that memory does
 * not grow with the file.
 */
import { must } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { BLOB } from '../format/block.ts';
import {
  CONTENT_RECORD_BYTES,
  contentIsHole,
  contentLength,
  writeBlobRecord,
  writeHoleRecord,
} from '../format/content.ts';
import { type EntryWriter, EXTRA } from '../format/entry.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';
import type { BlockPacker } from './block-packer.ts';

interface Level {
  readonly records: Buffer;
  count: number;
}

export class ContentAssembler {
  readonly #packer: BlockPacker;
  readonly #levels: Level[] = [];

  constructor(packer: BlockPacker) {
    this.#packer = packer;
  }

  /** Takes the records in `bytes`; a hole that continues the last one is joined to it. */
  add(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += CONTENT_RECORD_BYTES) {
      const length = contentLength(bytes, at);
      const hole = contentIsHole(bytes, at);
      const level = this.#level(0);
      const last = (level.count - 1) * CONTENT_RECORD_BYTES;
      if (hole && level.count > 0 && contentIsHole(level.records, last)) {
        writeHoleRecord(level.records, last, contentLength(level.records, last) + length);
        continue;
      }
      const to = this.#next(0);
      bytes.copy(must(this.#levels[0], 'level').records, to, at, at + CONTENT_RECORD_BYTES);
    }
  }
  #level(level: number): Level {
    this.#levels[level] ??= {
      records: Buffer.alloc(LIMITS.contentListPerBlob * CONTENT_RECORD_BYTES),
      count: 0,
    };
    return must(this.#levels[level], 'level');
  }
  /** Place of a further record of a level, storing a full list first. */
  #next(level: number): number {
    if (this.#level(level).count === LIMITS.contentListPerBlob) this.#store(level);
    return this.#level(level).count++ * CONTENT_RECORD_BYTES;
  }
  #store(level: number): void {
    const { records, count } = this.#level(level);
    const bytes = count * CONTENT_RECORD_BYTES;
    this.#packer.offer(CONTENT_CLASS.manifest, BLOB.contentList, records, 0, bytes);
    const name = Buffer.from(this.#packer.name);
    let covered = 0;
    for (let at = 0; at < bytes; at += CONTENT_RECORD_BYTES) covered += contentLength(records, at);
    this.#level(level).count = 0;
    const to = this.#next(level + 1);
    writeBlobRecord(this.#level(level + 1).records, to, covered, name);
  }

  /** Writes the records into the entry that `writer` has begun, and its levels; then begins anew. */
  finish(writer: EntryWriter): void {
    let top = 0;
    while (this.#level(top).count > LIMITS.contentListInlineMax || top + 1 < this.#levels.length) {
      if (this.#level(top).count > 0) this.#store(top);
      top++;
    }
    const { records, count } = this.#level(top);
    for (let i = 0; i < count; i++) {
      const to = writer.content();
      records.copy(writer.bytes, to, i * CONTENT_RECORD_BYTES, (i + 1) * CONTENT_RECORD_BYTES);
    }
    if (top > 0) writer.extra(EXTRA.contentLevels, Buffer.from([top]));
    this.#levels.length = 0;
  }
}
