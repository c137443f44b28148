/**
 * A reader of SIMH tape images that shares no code with src: from the text of the format alone.
 *
 * It reads a whole file, strictly: the standard subset only, both lengths the same, the pad zero, and
 * nothing behind the last object. So it says whether what was written can be read by others.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

/** A record's bytes, or a mark. */
export type TapObject = Buffer | 'mark';

export function readTap(path: string): TapObject[] {
  return parseTap(readFileSync(path), path);
}

function parseTap(file: Buffer, path: string): TapObject[] {
  const objects: TapObject[] = [];
  let at = 0;
  while (at < file.length) {
    assert(at + 4 <= file.length, `${path}: half a word at ${at}`);
    const length = file.readUInt32LE(at);
    at += 4;
    if (length === 0) {
      objects.push('mark');
      continue;
    }
    assert(length < 1 << 24, `${path}: not of the standard subset at ${at - 4}`);
    const data = file.subarray(at, at + length);
    assert.equal(data.length, length, `${path}: a record is cut off at ${at}`);
    at += length;
    if (length % 2 === 1) assert.equal(file[at++], 0, `${path}: no pad at ${at}`);
    assert(at + 4 <= file.length, `${path}: no second length at ${at}`);
    assert.equal(file.readUInt32LE(at), length, `${path}: the lengths at ${at} do not match`);
    at += 4;
    objects.push(data);
  }
  return objects;
}

/** Words and bytes one behind the other, for images that are made by hand. */
export function tapBytes(...parts: readonly (number | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part !== 'number') return part;
      const word = Buffer.alloc(4);
      word.writeUInt32LE(part);
      return word;
    }),
  );
}
