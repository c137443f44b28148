/**
 * Goal: what the scan writes the walk reads: kinds, flags, names of any bytes, every field of a status,
 * across buffers of any size. Method: property; a writer and a reader over a pipe of one thread.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FileStatus } from '../host/mod.ts';
import type { ModuleContext, PipeBuffer } from '../pipe/mod.ts';
import { areScanRecords, SCAN, ScanReader, ScanWriter } from './scan-stream.ts';

/** A context whose buffers hold `bytes` and wait in a list. */
function contextOf(bytes: number, sent: PipeBuffer[]): ModuleContext {
  const free: PipeBuffer[] = [];
  return {
    allocBuf: () => {
      const buffer = free.pop() ?? {
        memory: Buffer.alloc(64 + bytes),
        payloadOffset: 64,
        payloadCapacity: bytes,
      };
      return Object.assign(buffer, { length: 0 }) as PipeBuffer;
    },
    sendBuf: (buffer: PipeBuffer) => sent.push(buffer),
    receiveBuf: () => sent.shift() ?? null,
    freeBuf: (buffer: PipeBuffer) => {
      buffer.memory.fill(0xff);
      free.push(buffer);
    },
  } as unknown as ModuleContext;
}

const time = { min: -(2 ** 40), max: 2 ** 40 };
const record = fc.record({
  leave: fc.boolean(),
  flags: fc.integer({ min: 0, max: 7 }),
  name: fc
    .uint8Array({ minLength: 1, maxLength: 255 })
    .map((bytes) => Buffer.from(bytes).toString('latin1')),
  fields: fc.record({
    kind: fc.integer({ min: 0, max: 15 }),
    mode: fc.integer({ min: 0, max: 0xfff }),
    uid: fc.nat(),
    size: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    nlink: fc.nat(),
    inode: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    deviceMinor: fc.nat(),
    rdevMinor: fc.nat(),
    mtimeSeconds: fc.integer(time),
    ctimeNanos: fc.nat(999_999_999),
    blocks512: fc.nat(),
  }),
});

test('every record comes out as it went in, in order', () => {
  const status = new FileStatus();
  fc.assert(
    fc.property(
      fc.array(record, { maxLength: 60 }),
      fc.integer({ min: 420, max: 2000 }),
      (records, bytes) => {
        const sent: PipeBuffer[] = [];
        const context = contextOf(bytes, sent);
        const writer = new ScanWriter(context);
        for (const { leave, flags, name, fields } of records) {
          status.set(fields);
          if (leave) writer.leave();
          else writer.entry(status, name, flags);
        }
        writer.flush();
        const reader = new ScanReader(context);
        for (const { leave, flags, name, fields } of records) {
          assert(reader.next());
          assert.equal(reader.kind, leave ? SCAN.leave : SCAN.entry);
          if (leave) continue;
          assert.equal(reader.flags, flags);
          assert.equal(reader.name, name);
          for (const [field, value] of Object.entries(fields))
            assert.equal(reader.status[field as keyof typeof fields], value, field);
        }
        assert(!reader.next());
      },
    ),
  );
});

test('owners are known by name from the first entry on that they have, and records cut off are seen', () => {
  const sent: PipeBuffer[] = [];
  const context = contextOf(4096, sent);
  const writer = new ScanWriter(context);
  const status = new FileStatus();
  writer.owner(SCAN.user, 1000, 'j\u00fcrgen');
  writer.owner(SCAN.group, 4_294_967_295, 'staff');
  writer.owner(SCAN.user, 7, '');
  writer.entry(status, 'one', 0);
  writer.flush();
  const buffer = sent[0] as PipeBuffer;
  const { memory, payloadOffset, length } = buffer;
  assert.ok(areScanRecords(memory, payloadOffset, length));
  for (let cut = 4; cut < length; cut += 4) {
    const isBoundary = cut === 24 || cut === 48;
    assert.equal(areScanRecords(memory, payloadOffset, cut), isBoundary, `cut at ${cut}`);
  }
  const reader = new ScanReader(context);
  assert.ok(reader.next());
  assert.deepEqual([reader.kind, reader.name], [SCAN.entry, 'one']);
  assert.deepEqual([...reader.users], [[1000, 'j\u00fcrgen']]);
  assert.deepEqual([...reader.groups], [[4_294_967_295, 'staff']]);
  assert.ok(!reader.next());
});
