/**
 * Goal: blobs keep their bytes on their way into blocks, whatever is sent meanwhile; duplicates are
 * dropped; small blobs share a block. Method: a packer over a pipe of one thread whose sent buffers are
 * spoilt at once, as sealing in place spoils them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOB, DIRECTORY_RECORD_BYTES, NAME_BYTES } from '../format/block.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';
import { openCodec, openFiles, seededRandom } from '../host/mod.ts';
import { BlobIndex } from '../index/blob-index.ts';
import { createSessionTable, SessionTable } from '../index/session-table.ts';
import type { ModuleContext, PipeBuffer } from '../pipe/mod.ts';
import { WORD } from './backup-buffers.ts';
import { BlockPacker } from './block-packer.ts';

const PAYLOAD_BYTES = 256 * 1024;
const DIRECTORY_BYTES = 64 * DIRECTORY_RECORD_BYTES;
const BUFFERS = 2;

/** What left the packer: name and bytes of each blob. */
interface Sent {
  readonly contentClass: number;
  readonly name: string;
  readonly bytes: Buffer;
}

/** A context with few buffers that come back, spoilt, as soon as they are sent. */
function contextOf(sent: Sent[]): ModuleContext {
  const stride = PAYLOAD_BYTES + DIRECTORY_BYTES;
  const memory = Buffer.alloc(stride * BUFFERS);
  const free = Array.from({ length: BUFFERS }, (_, index) => {
    const words = new Uint32Array(24);
    return {
      index,
      memory,
      kind: 0,
      length: 0,
      payloadOffset: index * stride,
      payloadCapacity: PAYLOAD_BYTES,
      directoryOffset: index * stride + PAYLOAD_BYTES,
      word: (i: number) => words[i] ?? 0,
      setWord: (i: number, value: number) => {
        words[i] = value;
      },
    } as unknown as PipeBuffer;
  });
  const take = (): PipeBuffer | null => free.shift() ?? null;
  const sendBuf = (buffer: PipeBuffer): void => {
    let at = buffer.payloadOffset;
    for (let i = 0; i < buffer.word(WORD.blobCount); i++) {
      const record = buffer.directoryOffset + i * DIRECTORY_RECORD_BYTES;
      const length = memory.readUInt32LE(record + NAME_BYTES);
      const name = memory.toString('hex', record, record + NAME_BYTES);
      const bytes = Buffer.from(memory.subarray(at, at + length));
      sent.push({ contentClass: buffer.word(WORD.contentClass), name, bytes });
      at += length;
    }
    memory.fill(0xff, buffer.payloadOffset, buffer.payloadOffset + stride);
    free.push(buffer);
  };
  const allocBuf = (): PipeBuffer => {
    const buffer = take();
    assert.ok(buffer !== null, 'a wait for ever');
    return buffer;
  };
  return {
    tryAllocBuf: take,
    allocBuf,
    sendBuf,
    progress: () => undefined,
  } as unknown as ModuleContext;
}

function packerOf(sent: Sent[]): BlockPacker {
  const { hash } = openCodec(Buffer.alloc(32, 1));
  const share = { segments: [], chunkIds: [], used: new SharedArrayBuffer(4) };
  const index = new BlobIndex(share, openFiles(), hash);
  return new BlockPacker(contextOf(sent), hash, index, new SessionTable(createSessionTable()));
}

test('a blob read into the buffer of another class keeps its bytes when that buffer must be sent', () => {
  const sent: Sent[] = [];
  const packer = packerOf(sent);
  const random = seededRandom(5);
  const expected = new Map<string, Buffer>();
  const { compressible, incompressible, manifest } = CONTENT_CLASS;
  for (let i = 0; i < 200; i++) {
    const bytes = random.bytes(1000 + ((i * 7919) % 60_000));
    const target = [compressible, incompressible, manifest][i % 3] ?? compressible;
    const buffer = packer.room(compressible, bytes.length);
    bytes.copy(buffer.memory, buffer.payloadOffset + buffer.length);
    assert.equal(packer.offerInPlace(compressible, target, BLOB.data, bytes.length), true);
    expected.set(packer.name.toString('hex'), bytes);
  }
  packer.flush();
  assert.equal(sent.length, 200);
  for (const { name, bytes } of sent) assert.deepEqual(bytes, expected.get(name));
});

test('a blob that is offered again is dropped and named', () => {
  const sent: Sent[] = [];
  const packer = packerOf(sent);
  const bytes = Buffer.from('the same bytes');
  assert.equal(packer.offer(CONTENT_CLASS.compressible, BLOB.data, bytes, 0, bytes.length), true);
  const name = packer.name.toString('hex');
  assert.equal(packer.offer(CONTENT_CLASS.compressible, BLOB.data, bytes, 0, bytes.length), false);
  assert.equal(packer.name.toString('hex'), name);
  packer.flush();
  assert.deepEqual(sent, [{ contentClass: CONTENT_CLASS.compressible, name, bytes }]);
});
