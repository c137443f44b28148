/**
 * Extended attributes of a source, into its entry. More than an entry holds are left out as a whole,
 * and the entry says that it is not complete.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { formatBytes } from '../base/units.ts';
import { ENTRY_FLAG, type EntryWriter } from '../format/entry.ts';
import type { Attribute } from '../host/files-only.ts';

/** Writes the attributes into the entry that was begun; returns why it could not. */
export function writeAttributes(
  writer: EntryWriter,
  attributes: readonly Attribute[],
  path: ByteString,
): PenstockError | undefined {
  let bytes = 0;
  for (const { name, value } of attributes) bytes += name.length + value.length;
  if (bytes <= LIMITS.xattrsPerEntryBytesMax) {
    for (const { name, value } of attributes) writer.attribute(name, value);
    return undefined;
  }
  writer.setFlags(ENTRY_FLAG.incomplete);
  const most = formatBytes(LIMITS.xattrsPerEntryBytesMax);
  const message = `has more than ${most} of extended attributes, which were left out: ${toDisplay(path)}`;
  return new PenstockError('LIMIT', message, { subject: path });
}

/** Labels that a system gives by itself are no part of what is copied. */
export function isCopied(attribute: ByteString): boolean {
  return !attribute.startsWith('security.') || attribute === 'security.capability';
}

const UNREADABLE = 0xffff_ffff;

/** Equal for equal attributes; 0 for none. What could not be read is like nothing else. */
export function attributesDigest(attributes: readonly Attribute[] | number): number {
  if (typeof attributes === 'number') return UNREADABLE;
  if (attributes.length === 0) return 0;
  const copied = attributes.filter(({ name }) => isCopied(name));
  copied.sort((a, b) => (a.name < b.name ? -1 : 1));
  // Attributes are rare: until there are some, threads do without the module.
  const { crc32 } = process.getBuiltinModule('node:zlib');
  let digest = 0;
  for (const { name, value } of copied) {
    digest = crc32(Buffer.from(`${name}\0${value.length}\0`, 'latin1'), digest);
    digest = crc32(value, digest);
  }
  return digest;
}
