/**
 * Goal: a slot is never anybody's but its owner's, whichever side gives it up first; numbers beyond
 * 32 bits and errors cross it whole.
 * Method: both sides of the memory in one thread, in every order that matters.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { CALL, CallMemory, FAILED, STATE } from './call-memory.ts';

const CHUNK = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const SESSION = Buffer.alloc(16, 7);

function submitted(call: number, position = 0): { memory: CallMemory; slot: number } {
  const memory = CallMemory.make(2, 4096);
  const slot = memory.acquire();
  memory.submit(slot, call, memory.acquireSink(), CHUNK, SESSION, position, 10);
  return { memory, slot };
}

test('what is asked for is what the server reads', () => {
  const position = 2 ** 40 + 3_000_000_001;
  const { memory, slot } = submitted(CALL.read, position);
  const other = new CallMemory(memory.shared);
  assert(other.take(slot));
  assert(!other.take(slot), 'a call is taken once');
  assert.deepEqual(
    [other.call(slot), other.position(slot), other.length(slot), other.chunk(slot)],
    [CALL.read, position, 10, CHUNK.toString('hex')],
  );
  assert.equal(other.session(slot), SESSION.toString('hex'));
  other.finish(slot, 2 ** 41 + 5);
  assert.equal(memory.state(slot), STATE.done);
  assert.equal(memory.result(slot), 2 ** 41 + 5);
});

test('an error crosses, for a call in its slot and for a write in its sink', () => {
  const call = submitted(CALL.open);
  call.memory.take(call.slot);
  call.memory.finish(call.slot, '{"code":"X"}');
  assert.equal(call.memory.result(call.slot), FAILED);
  assert.equal(call.memory.error(call.slot), '{"code":"X"}');
  const write = submitted(CALL.write);
  assert.equal(write.memory.pending(0), 1);
  assert(!write.memory.mayWrite, 'one write at most is under way until agents are there');
  write.memory.take(write.slot);
  write.memory.finishWrite(write.slot, 'first');
  assert.equal(write.memory.state(write.slot), STATE.free);
  assert.equal(write.memory.pending(0), 0);
  assert.equal(write.memory.sinkError(0), 'first');
  write.memory.freeSink(0);
  assert.equal(write.memory.sinkError(write.memory.acquireSink()), undefined);
});

test('a call that nobody wants any more is freed once, before it is taken, after it, and when it is done', () => {
  const early = submitted(CALL.read);
  early.memory.abandon(early.slot);
  assert.equal(early.memory.state(early.slot), STATE.free);
  assert(!early.memory.take(early.slot));
  const late = submitted(CALL.read);
  late.memory.take(late.slot);
  late.memory.abandon(late.slot);
  assert.equal(late.memory.state(late.slot), STATE.abandoned);
  assert.equal(late.memory.acquire(), 1, 'the server still writes to it');
  late.memory.finish(late.slot, 10);
  assert.equal(late.memory.state(late.slot), STATE.free);
  const done = submitted(CALL.read);
  done.memory.take(done.slot);
  done.memory.finish(done.slot, 10);
  done.memory.abandon(done.slot);
  assert.equal(done.memory.state(done.slot), STATE.free);
});

test('what a write brought stays where it is, and its slot goes on with a spare piece', () => {
  const memory = CallMemory.make(2, 4096, 3);
  const server = new CallMemory(memory.shared);
  const spares = server.spares();
  assert.equal(spares.length, 3);
  const sink = memory.acquireSink();
  for (let i = 0; i < 20; i++) {
    const slot = memory.acquire();
    memory.bytes.fill(i + 1, memory.dataAt(slot), memory.dataAt(slot) + 4096);
    memory.submit(slot, CALL.write, sink, CHUNK, SESSION, i, 10);
    assert(server.take(slot));
    const spare = spares.shift() as Buffer;
    const kept = server.exchange(slot, spare);
    server.finishWrite(slot, undefined);
    // The next one writes elsewhere.
    const next = memory.acquire();
    assert.equal(memory.dataAt(next), spare.byteOffset);
    memory.bytes.fill(0xee, memory.dataAt(next), memory.dataAt(next) + 4096);
    memory.free(next);
    assert(kept.every((byte) => byte === i + 1));
    assert.equal(kept.length, 4096);
    spares.push(kept);
    const places = [0, 1].map((one) => memory.dataAt(one));
    const all = new Set([...places, ...spares.map(({ byteOffset }) => byteOffset)]);
    assert.equal(all.size, 5, "no piece is anybody else's");
    assert.deepEqual(
      server.spares().map(({ byteOffset }) => byteOffset),
      spares.map(({ byteOffset }) => byteOffset).toSorted((a, b) => a - b),
    );
  }
  assert.throws(() => server.exchange(0, Buffer.alloc(4096)), /a piece of this memory/);
});
