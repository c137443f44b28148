/**
 * The key slots of a repository as they are stored: records whose clear part is the slot, readable without any key.
 *
 * Contract: a record that is damaged, or no key slot, is told, not believed. Loads little, for what leads to the key
 * comes first in every command.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { KeySlot } from '../crypto/key-slot.ts';
import type { ObjectStore } from '../format/object-store.ts';
import { clearOfRecord, decodeRecord, jsonOfPart, RECORD } from '../format/record.ts';
import { crcOf } from '../host/native/hash.ts';

/** A key slot as it is stored; whether it is one of the repository's own is not known yet (keys.ts). */
export interface StoredKeySlot {
  readonly slot: KeySlot;
  readonly record: Buffer;
}

export interface StoredKeySlots {
  /** Oldest first, each at its newest revision. */
  readonly slots: readonly StoredKeySlot[];
  /** Records that cannot be read, left out above. */
  readonly damaged: readonly PenstockError[];
}

/** An object of the kind `keys`. */
export interface KeyRecord {
  readonly name: string;
  readonly record: Buffer;
}

export const slotName = (slot: KeySlot): string => `${slot.slot}.${slot.revision}`;

/** All key slots. */
export async function listKeySlots(store: ObjectStore): Promise<StoredKeySlots> {
  const records: KeyRecord[] = [];
  const unread: PenstockError[] = [];
  for (const { name } of await store.list('keys')) {
    try {
      records.push({ name, record: await store.read('keys', name, LIMITS.recordBytesMax) });
    } catch (error) {
      const passed = passOver(error);
      if (passed.code !== 'OBJECT_MISSING') unread.push(passed);
    }
  }
  const { slots, damaged } = slotsOf(records);
  return { slots, damaged: [...unread, ...damaged] };
}

/** The slots in these records. */
export function slotsOf(records: readonly KeyRecord[]): StoredKeySlots {
  const newest = new Map<string, StoredKeySlot>();
  const damaged: PenstockError[] = [];
  for (const { name, record } of records) {
    try {
      const slot = readKeySlot(record, name);
      const known = newest.get(slot.slot);
      if (known === undefined || known.slot.revision < slot.revision)
        newest.set(slot.slot, { slot, record });
    } catch (error) {
      damaged.push(passOver(error));
    }
  }
  const slots = [...newest.values()].sort((a, b) => a.slot.createdMs - b.slot.createdMs);
  return { slots: slots.slice(0, LIMITS.keySlotsMax), damaged };
}

/** What one record has costs that record only; everything else is thrown on. */
function passOver(error: unknown): PenstockError {
  if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
  return error;
}

function readKeySlot(record: Buffer, name: string): KeySlot {
  const subject = `keys/${name}`;
  const head = decodeRecord(record, subject, crcOf, false);
  const wrong = (): PenstockError =>
    new PenstockError('DAMAGED', `${subject} is damaged`, { subject });
  if (head.kind !== RECORD.key) throw wrong();
  const slot = jsonOfPart(clearOfRecord(record), wrong);
  if (!isKeySlot(slot) || slotName(slot) !== name) throw wrong();
  return slot;
}

function isKeySlot(value: unknown): value is KeySlot {
  if (typeof value !== 'object' || value === null) return false;
  const slot = value as KeySlot;
  const texts = [
    slot.slot,
    slot.salt,
    slot.publicKey,
    slot.wrapNonce,
    slot.wrappedPrivate,
    slot.ephemeralPublic,
    slot.sealedKeyring,
  ];
  return (
    texts.every((text) => typeof text === 'string') &&
    /^[0-9a-f]{16}$/.test(slot.slot) &&
    Number.isInteger(slot.revision) &&
    Number.isSafeInteger(slot.createdMs) &&
    typeof slot.argon2 === 'object' &&
    slot.argon2 !== null &&
    Array.isArray(slot.generations)
  );
}
