/**
 * A reader of repositories that was written from docs/format.md and shares no code with src/: what it
 * can read, anybody can read. Numbers in brackets are sections of that page.
 *
 * Contract: checks what the page says makes a structure valid, and throws for what is not. It needs
 * the repository record, key records and chunks, and looks at nothing else.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import {
  clearPart,
  crc32c,
  decode,
  decrypt,
  hkdf,
  type Json,
  json,
  keyedHash,
  openSlot,
} from './independent-records.ts';

const align8 = (n: number): number => Math.ceil(n / 8) * 8;
const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));

/** Where one blob stands. */
export interface BlobPlace {
  readonly chunk: string;
  readonly block: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface ReadEntry {
  readonly kind: number;
  readonly flags: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNanos: bigint;
  readonly size: number;
  /** Lengths of the pieces, holes negative. */
  readonly pieces: readonly number[];
  readonly content: Buffer;
  readonly linkTarget: string | undefined;
  readonly hardLink: string | undefined;
  readonly attributes: ReadonlyMap<string, string>;
  readonly levels: number;
}

/** A part of a chunk, opened as far as its kind asks for. */
interface Part {
  readonly kind: number;
  readonly contentClass: number;
  readonly compression: number;
  readonly generation: number;
  readonly rawBytes: number;
  readonly blobs: number;
  readonly bytes: number;
  readonly specials: ReadonlyMap<number, Buffer>;
  readonly payload: Buffer;
}

const KIND = { block: 1, header: 2, footer: 3, details: 4, archiveFooter: 8, options: 9 } as const;
const UNSEALED: readonly number[] = [KIND.footer, KIND.options];

export class IndependentReader {
  readonly settings: Json;
  readonly #folder: string;
  readonly #encrypted: boolean;
  readonly #seeds = new Map<number, Buffer>();
  readonly root: Buffer;
  /** By name, hexadecimal (11.5). */
  readonly places = new Map<string, BlobPlace>();
  /** Sealed parts of archive records, from the footers in the chunks (11.4). */
  readonly archives: { readonly id: string; readonly partial: boolean; readonly sealed: Json }[] =
    [];
  /** Key generations of all parts. */
  readonly generations = new Set<number>();
  /** Lengths and types by chunk, from its details, in the order of its footer (6.5). */
  readonly details = new Map<string, readonly (readonly [number, number])[]>();
  readonly #blocks = new Map<string, Map<string, Buffer>>();

  constructor(folder: string, passphrase: Buffer) {
    this.#folder = folder;
    const record = readFileSync(join(folder, 'repository'));
    this.settings = clearPart(record, 1);
    this.#encrypted = this.settings.encrypted === true;
    const keyring = this.#encrypted
      ? this.#openSlots(passphrase)
      : json(decode(this.settings.keyring));
    this.root = decode(keyring.root);
    for (const { number, seed } of keyring.generations as { number: number; seed: string }[]) {
      this.#seeds.set(number, decode(seed));
    }
    assert.equal(this.sealedPart(record, 1).proof, 'penstock repository');
    for (const folders of readdirSync(join(folder, 'chunks'))) {
      for (const id of readdirSync(join(folder, 'chunks', folders))) this.#readChunk(id);
    }
  }

  key(purpose: string): Buffer {
    return hkdf(this.root, Buffer.alloc(0), `penstock ${purpose}`);
  }

  #generationKey(generation: number, purpose: string): Buffer {
    const seed = this.#seeds.get(generation);
    assert(seed !== undefined, `generation ${generation} is in the keyring`);
    return hkdf(seed, Buffer.alloc(0), `penstock ${purpose}`);
  }

  /** (4.2) */
  #openSlots(passphrase: Buffer): Json {
    const newest = new Map<string, Json>();
    for (const name of readdirSync(join(this.#folder, 'keys'))) {
      const slot = clearPart(readFileSync(join(this.#folder, 'keys', name)), 2);
      assert.equal(`${slot.slot}.${slot.revision}`, name);
      const known = newest.get(String(slot.slot));
      if (Number(known?.revision ?? 0) < Number(slot.revision)) newest.set(String(slot.slot), slot);
    }
    for (const slot of newest.values()) {
      try {
        return openSlot(slot, passphrase);
      } catch {
        // The slot of another passphrase.
      }
    }
    throw new Error('no slot opens');
  }

  /** (5.1) */
  sealedPart(record: Buffer, kind: number): Json {
    const clear = clearPart(record, kind);
    assert.equal(record[10], this.#encrypted ? 1 : 0);
    const at = 128 + record.readUInt32LE(24);
    let sealed = record.subarray(at);
    if (this.#encrypted) {
      const generation = record.readUInt32LE(48);
      const key = hkdf(
        this.#generationKey(generation, 'records'),
        record.subarray(52, 84),
        'penstock seal',
      );
      const associated = Buffer.concat([record.subarray(0, 52), record.subarray(128, at)]);
      sealed = decrypt(key, Buffer.alloc(12), associated, sealed, record.subarray(84, 100));
    }
    return sealed.length === 0 ? clear : json(sealed);
  }

  #chunkBytes(id: string): Buffer {
    return readFileSync(join(this.#folder, 'chunks', id.slice(0, 2), id));
  }

  /** (6.2, 7) */
  #readPart(chunk: Buffer, at: number, id: string): Part {
    const header = chunk.subarray(at, at + chunk.readUInt16LE(at + 4));
    assert.equal(header.toString('latin1', 0, 4), 'PTAG');
    assert(header.length >= 144 && header.length <= 4096 && header.length % 8 === 0);
    assert.equal(
      crc32c(Buffer.concat([header.subarray(0, 140), header.subarray(144)])),
      header.readUInt32LE(140),
    );
    const kind = header.readUInt8(7);
    const storedBytes = header.readUInt32LE(24);
    assert.equal(header[6], 1);
    assert.equal(header.toString('hex', 48, 64), id);
    assert.equal(u64(header, 40), at);
    let payload = chunk.subarray(at + header.length, at + header.length + storedBytes);
    assert.equal(crc32c(payload), header.readUInt32LE(132));
    const sealed = this.#encrypted && !UNSEALED.includes(kind);
    assert.equal(header[10], sealed ? 1 : 0);
    const generation = header.readUInt32LE(16);
    this.generations.add(generation);
    if (sealed) {
      const salt = header.subarray(80, 112);
      const key = hkdf(this.#generationKey(generation, 'blocks'), salt, 'penstock seal');
      payload = decrypt(
        key,
        Buffer.alloc(12),
        associatedData(header),
        payload,
        header.subarray(112, 128),
      );
    }
    return {
      kind,
      contentClass: header.readUInt8(8),
      compression: header.readUInt8(9),
      generation,
      rawBytes: header.readUInt32LE(20),
      blobs: header.readUInt32LE(128),
      bytes: header.length + storedBytes,
      specials: readSpecials(header),
      payload,
    };
  }

  /** From its end, then part by part, which must come to the same (6.5, 11.2). */
  #readChunk(id: string): void {
    const chunk = this.#chunkBytes(id);
    const trailer = chunk.subarray(chunk.length - 32);
    assert.equal(trailer.toString('latin1', 28), 'PEND');
    assert.equal(crc32c(trailer.subarray(0, 24)), trailer.readUInt32LE(24));
    const footerAt = u64(trailer, 0);
    assert.equal(footerAt + trailer.readUInt32LE(8) + 32, chunk.length);
    const footer = this.#readPart(chunk, footerAt, id);
    assert.equal(footer.kind, KIND.footer);
    assert.equal(footer.specials.get(1)?.length, 1);
    assert.equal(chunk.readUInt32LE(footerAt + 12) & 1, 1);
    // Everything up to the footer that names no further class is safe.
    const isLast = footer.specials.get(1)?.[0] === 0;
    assert.equal((chunk.readUInt32LE(footerAt + 12) & 4) !== 0, isLast);
    const offsets = this.#readFooter(id, footer.payload);
    const found: number[] = [];
    const kinds: number[] = [];
    for (let at = 0; at < chunk.length - 32; ) {
      const part = this.#readPart(chunk, at, id);
      if (part.kind === KIND.block) found.push(at);
      else kinds.push(part.kind);
      this.#other(id, part);
      at += part.bytes;
    }
    assert.deepEqual(found, offsets);
    assert.equal(kinds[0], KIND.header);
    assert.deepEqual(kinds.slice(-2), [KIND.details, KIND.footer]);
  }

  #readFooter(id: string, footer: Buffer): number[] {
    const blocks = footer.readUInt32LE(0);
    let name = 8 + 16 * blocks;
    const offsets: number[] = [];
    for (let block = 0; block < blocks; block++) {
      const at = 8 + 16 * block;
      const offset = u64(footer, at);
      offsets.push(offset);
      const place = { chunk: id, block, offset, bytes: footer.readUInt32LE(at + 8) };
      for (let blob = 0; blob < footer.readUInt32LE(at + 12); blob++, name += 32) {
        this.places.set(footer.toString('hex', name, name + 32), place);
      }
    }
    assert.equal(name, footer.length);
    assert.equal(name, 8 + 16 * blocks + 32 * footer.readUInt32LE(4));
    return offsets;
  }

  #other(id: string, { kind, payload }: Part): void {
    if (kind === KIND.header) assert.equal(json(payload).chunk, id);
    if (kind === KIND.archiveFooter) {
      this.archives.push(json(payload) as unknown as (typeof this.archives)[number]);
    }
    if (kind === KIND.details) {
      const details: (readonly [number, number])[] = [];
      for (let at = 0; at < payload.length; at += 8) {
        details.push([payload.readUInt32LE(at), payload.readUInt8(at + 4)]);
      }
      this.details.set(id, details);
    }
  }

  /** (6.3, 11.3) By name, hexadecimal. */
  openBlock({ chunk, offset }: BlobPlace): ReadonlyMap<string, Buffer> {
    const key = `${chunk} ${offset}`;
    const known = this.#blocks.get(key);
    if (known !== undefined) return known;
    const part = this.#readPart(this.#chunkBytes(chunk), offset, chunk);
    const content = part.compression === 0 ? part.payload : zstdDecompressSync(part.payload);
    assert.equal(content.length, part.rawBytes);
    const blobs = new Map<string, Buffer>();
    const records = content.length - 8 * part.blobs;
    const nameKey = this.key('blob names');
    let at = 0;
    for (let blob = 0; blob < part.blobs; blob++) {
      const length = content.readUInt32LE(records + 8 * blob);
      const bytes = content.subarray(at, at + length);
      blobs.set(keyedHash(nameKey, bytes).toString('hex'), bytes);
      at += length;
    }
    assert.equal(at, records);
    this.#blocks.set(key, blobs);
    return blobs;
  }

  blob(name: string): Buffer {
    const place = this.places.get(name);
    assert(place !== undefined, `blob ${name} is in a chunk`);
    const bytes = this.openBlock(place).get(name);
    assert(bytes !== undefined, `blob ${name} is in its block`);
    return bytes;
  }

  /** All entries of an archive by path, in order (9, 11.4). */
  entries(sealed: Json): Map<string, ReadEntry> {
    const root = sealed.root as { name: string; level: number; entries: number };
    const entries = new Map<string, ReadEntry>();
    this.#readNode(root.name, root.level, entries);
    assert.equal(entries.size, root.entries);
    return entries;
  }

  #readNode(name: string, level: number, into: Map<string, ReadEntry>): void {
    const bytes = this.blob(name);
    assert.equal(bytes.readUInt16LE(4), 1);
    assert.equal(bytes.readUInt16LE(6), level);
    if (level === 0) {
      this.#readLeaf(bytes, into);
      return;
    }
    assert.equal(bytes.toString('latin1', 0, 4), 'PNOD');
    let at = 16;
    for (let child = 0; child < bytes.readUInt32LE(8); child++) {
      const before = into.size;
      const path = bytes.toString('latin1', at + 56, at + 56 + bytes.readUInt32LE(at + 36));
      this.#readNode(bytes.toString('hex', at, at + 32), level - 1, into);
      assert.equal(into.size - before, u64(bytes, at + 40));
      assert.equal([...into.keys()][before], path);
      at += 56 + align8(bytes.readUInt32LE(at + 36));
    }
    assert.equal(at, bytes.length);
  }

  #readLeaf(bytes: Buffer, into: Map<string, ReadEntry>): void {
    assert.equal(bytes.toString('latin1', 0, 4), 'PLEF');
    const prefixBytes = bytes.readUInt32LE(12);
    const prefix = bytes.toString('latin1', 16, 16 + prefixBytes);
    let path = prefix === '' ? [] : prefix.split('/');
    let at = 16 + align8(prefixBytes);
    for (let number = 0; number < bytes.readUInt32LE(8); number++) {
      const entry = bytes.subarray(at, at + bytes.readUInt32LE(at));
      const name = entry.toString('latin1', 80, 80 + entry.readUInt16LE(72));
      path = [...path.slice(0, entry.readUInt32LE(8)), name];
      assert.equal(path.length, entry.readUInt32LE(8) + 1);
      into.set(path.join('/'), this.#readEntry(entry));
      at += entry.length;
    }
    assert.equal(at, bytes.length);
  }

  /** (9.3) */
  #readEntry(entry: Buffer): ReadEntry {
    const recordsAt = align8(80 + entry.readUInt16LE(72));
    const extrasAt = recordsAt + 40 * entry.readUInt32LE(76);
    const extras = new Map<number, Buffer>();
    const attributes = new Map<string, string>();
    for (let at = extrasAt; at < entry.length; at += 8 + align8(entry.readUInt32LE(at + 4))) {
      const type = entry.readUInt16LE(at);
      const value = entry.subarray(at + 8, at + 8 + entry.readUInt32LE(at + 4));
      extras.set(type, value);
      const end = 2 + (type === 3 ? value.readUInt16LE(0) : 0);
      if (type === 3) {
        attributes.set(value.toString('latin1', 2, end), value.toString('latin1', end));
      }
    }
    const levels = extras.get(4)?.[0] ?? 0;
    const size = u64(entry, 56);
    const pieces: number[] = [];
    const content = Buffer.alloc(size);
    const end = this.#content(entry.subarray(recordsAt, extrasAt), levels, content, 0, pieces);
    assert(end <= size);
    return {
      kind: entry.readUInt8(4),
      flags: entry.readUInt8(5),
      mode: entry.readUInt16LE(6),
      uid: entry.readUInt32LE(12),
      gid: entry.readUInt32LE(16),
      mtimeNanos: entry.readBigInt64LE(24) * 1_000_000_000n + BigInt(entry.readUInt32LE(20)),
      size,
      pieces,
      content,
      linkTarget: extras.get(1)?.toString('latin1'),
      hardLink: extras.get(2)?.toString('latin1'),
      attributes,
      levels,
    };
  }

  /** (9.4) Returns the position after the records. */
  #content(records: Buffer, levels: number, into: Buffer, from: number, pieces: number[]): number {
    let position = from;
    for (let at = 0; at < records.length; at += 40) {
      const length = u64(records, at);
      const name = records.toString('hex', at + 8, at + 40);
      if (/^0+$/.test(name)) pieces.push(-length);
      else if (levels > 0) {
        const end = this.#content(this.blob(name), levels - 1, into, position, pieces);
        assert.equal(end, position + length);
      } else {
        const bytes = this.blob(name);
        assert.equal(bytes.length, length);
        bytes.copy(into, position);
        pieces.push(length);
      }
      position += length;
    }
    return position;
  }
}

/** (7) */
function associatedData(header: Buffer): Buffer {
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(header.readUInt32LE(12) & 2);
  return Buffer.concat([
    header.subarray(6, 11),
    flags,
    header.subarray(16, 28),
    header.subarray(128, 132),
    Buffer.alloc(3),
  ]);
}

function readSpecials(header: Buffer): Map<number, Buffer> {
  const specials = new Map<number, Buffer>();
  for (let at = 144; at + 4 <= header.length && header.readUInt16LE(at) !== 0; ) {
    const end = at + 4 + header.readUInt16LE(at + 2);
    specials.set(header.readUInt16LE(at), header.subarray(at + 4, end));
    at = end;
  }
  return specials;
}
