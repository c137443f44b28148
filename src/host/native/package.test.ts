/**
 * Goal: a thread that is told where the binaries are, or finds them where they usually are, opens just these, and one
 * that is told wrong asks the packages. Method: threads that say what they computed, and whose loaders ran.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { openCodec } from '../mod.ts';
import { loadNative, type NativeFiles, nativeFiles } from './package.ts';

const NAMES = ['koffi', '@napi-rs/blake-hash', '@node-rs/crc32'] as const;

const PROGRAM = `
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
const { useNativeFiles } = await import(workerData.module);
useNativeFiles(workerData.files);
const { openCodec, openFiles } = await import(workerData.host);
const codec = openCodec(Buffer.alloc(32, 7));
const digest = Buffer.alloc(32);
codec.hash.digestInto(Buffer.from('bytes'), 0, 5, digest, 0);
openFiles();
parentPort.postMessage({
  crc: codec.crc32c(Buffer.from('bytes'), 0, 5, 0),
  digest: digest.toString('hex'),
  loaders: Object.keys(createRequire(workerData.module).cache).length,
});
`;

/** What a thread says that was told these files. */
async function inThread(files: NativeFiles): Promise<{ loaders: number }> {
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(PROGRAM)}`), {
    workerData: {
      files,
      module: new URL('./package.ts', import.meta.url).href,
      host: new URL('../mod.ts', import.meta.url).href,
    },
  });
  const [said] = await once(worker, 'message');
  return said;
}

test('a thread that is told the files runs no loader, and computes the same', async () => {
  for (const name of NAMES) loadNative(name);
  const files = nativeFiles();
  assert.deepEqual(Object.keys(files).sort(), [...NAMES].sort());
  for (const file of Object.values(files)) assert(existsSync(file), file);

  const codec = openCodec(Buffer.alloc(32, 7));
  const digest = Buffer.alloc(32);
  codec.hash.digestInto(Buffer.from('bytes'), 0, 5, digest, 0);
  const expected = {
    crc: codec.crc32c(Buffer.from('bytes'), 0, 5, 0),
    digest: digest.toString('hex'),
  };
  assert.deepEqual(await inThread(files), { ...expected, loaders: 0 });

  assert.deepEqual(
    await inThread({}),
    { ...expected, loaders: 0 },
    'they are where they usually are',
  );

  const wrong = Object.fromEntries(NAMES.map((name) => [name, '/none.node']));
  const { loaders, ...said } = await inThread(wrong);
  assert.deepEqual(said, expected);
  assert(loaders > 0);
});

test('where binaries usually are is where the loaders of their packages find them', () => {
  const require = createRequire(import.meta.url);
  for (const name of NAMES) {
    loadNative(name);
    const before = new Set(Object.keys(require.cache));
    require(name);
    const found = Object.keys(require.cache).filter(
      (path) => path.endsWith('.node') && !before.has(path),
    );
    assert.deepEqual(found, [nativeFiles()[name]]);
  }
});
