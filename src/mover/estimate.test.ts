/**
 * Goal: the estimate of a backup grows while it is made, ends with what is there, and can be called off.
 * Method: a small tree, and turns of no length, so that each directory is told of.
 */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fromText } from '../base/bytes.ts';
import { type Estimate, estimateSources } from './estimate.ts';

const ALL = { include: [], exclude: [], ignoreFiles: [], oneFileSystem: false };
const DIRECTORIES = 30;

function tree(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'penstock-estimate-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (let i = 0; i < DIRECTORIES; i++) {
    mkdirSync(join(root, `${i}`));
    writeFileSync(join(root, `${i}`, 'file'), 'x'.repeat(i));
  }
  return root;
}

test('what was found so far is told, then all', async (t) => {
  const told: Estimate[] = [];
  const { signal } = new AbortController();
  const found = (soFar: Estimate): void => void told.push(soFar);
  const all = await estimateSources([fromText(tree(t))], ALL, signal, found, -1);
  const bytes = (DIRECTORIES * (DIRECTORIES - 1)) / 2;
  deepEqual(all, { files: DIRECTORIES, bytes });
  deepEqual(
    told.map(({ files }) => files),
    [0, ...Array(DIRECTORIES).keys()],
  );
  ok(told.every((one) => one.bytes <= bytes));
});

test('one that is called off ends', async (t) => {
  const leaving = new AbortController();
  let calls = 0;
  const found = (): void => {
    if (++calls === 3) leaving.abort(new Error('enough'));
  };
  await rejects(estimateSources([fromText(tree(t))], ALL, leaving.signal, found, -1), /enough/);
  equal(calls, 3);
});
