/**
 * Extended attributes of a source, into its entry. More than an entry holds are left out as a whole,
 * and the entry says that it is not complete.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { formatBytes } from '../base/units.ts';
import { ENTRY_FLAG, type EntryWriter } from '../format/entry.ts';
import type { Attribute } from '../host/mod.ts';

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
