/** Each implementation of the port `Codec` passes its contract. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Codec, openCodec } from '../../src/host/mod.ts';
import { codecContract } from './codec.ts';

function openKind(kind: 'native' | 'node', hashKey: Uint8Array): Codec {
  const before = process.env.PENSTOCK_CODEC;
  process.env.PENSTOCK_CODEC = kind;
  try {
    return openCodec(hashKey);
  } finally {
    if (before === undefined) delete process.env.PENSTOCK_CODEC;
    else process.env.PENSTOCK_CODEC = before;
  }
}

codecContract({
  name: 'native where there is one',
  open: (key) => openKind('native', key),
  openPeer: (key) => openKind('node', key),
});
codecContract({
  name: 'by modules of Node',
  open: (key) => openKind('node', key),
  openPeer: (key) => openKind('native', key),
});

test('the native codec is what the pinned Node gets, and the other one on request', () => {
  const key = new Uint8Array(32);
  assert.equal(openKind('node', key).kind, 'node');
  assert.equal(openKind('native', key).kind, 'native');
});

test('a closed codec refuses to work', () => {
  const codec = openKind('native', new Uint8Array(32));
  codec.close();
  codec.close();
  const view = new Uint8Array(16);
  assert.throws(() => codec.compress(view, 0, 8, view, 8, 8, 3), { name: 'AssertionError' });
  assert.throws(() => codec.seal(new Uint8Array(32), view, view, 0, 8, new Uint8Array(16)), {
    name: 'AssertionError',
  });
});
