/**
 * Names and paths as bytes. A name of the file system is kept as a `latin1` string: one UTF-16 unit
 * per byte, so that string order is byte order and nothing is lost whatever the encoding was.
 */

/** A file name or path, one character per byte. */
export type ByteString = string;

/** Bytes of a name. */
export function toBytes(name: ByteString): Buffer {
  return Buffer.from(name, 'latin1');
}

export function fromBytes(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** What a user typed (UTF-16) as bytes (UTF-8). */
export function fromText(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** Whether the bytes are valid UTF-8. */
export function isText(name: ByteString): boolean {
  if (isAscii(name)) return true;
  const bytes = toBytes(name);
  return Buffer.compare(Buffer.from(bytes.toString('utf8'), 'utf8'), bytes) === 0;
}

/** For people: UTF-8 decoded, and control characters, bad bytes and backslashes as \xNN escapes. */
export function toDisplay(name: ByteString): string {
  const text = isText(name) ? toBytes(name).toString('utf8') : name;
  const ascii = !isText(name);
  let out = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x20 || code === 0x7f || (code >= 0x80 && (ascii || code < 0xa0))) {
      out += `\\x${code.toString(16).padStart(2, '0')}`;
    } else out += character === '\\' ? '\\\\' : character;
  }
  return out;
}

/** The JSON form: `path` as text and, where it is not UTF-8, `pathBytes` in base64. */
export function toJsonPath(name: ByteString): { path: string; pathBytes?: string } {
  const bytes = toBytes(name);
  const path = bytes.toString('utf8');
  return isText(name) ? { path } : { path, pathBytes: bytes.toString('base64') };
}

function isAscii(name: string): boolean {
  for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) > 0x7f) return false;
  return true;
}

/**
 * Order of `length` bytes at `at` of `a` and at `from` of `b`. For hot loops over names, most of which
 * differ in their first bytes: a call of Buffer.compare costs more than that.
 */
export function compareBytes(
  a: Uint8Array,
  at: number,
  b: Uint8Array,
  from: number,
  length: number,
): number {
  for (let i = 0; i < length; i++) {
    const order = (a[at + i] as number) - (b[from + i] as number);
    if (order !== 0) return order;
  }
  return 0;
}

/** Order of two paths, component by component: the order of a depth-first walk with sorted names. */
export function comparePaths(a: ByteString, b: ByteString): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (x === 0x2f) return -1;
    if (y === 0x2f) return 1;
    return x - y;
  }
  return a.length - b.length;
}
