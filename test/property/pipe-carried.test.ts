/**
 * Numbers that come from elsewhere (P6): the order of another machine's pipe.
 *
 * Goal: buffers that several instances of a head bring in any order that keeps to the window come to an
 * ordered stage in the order of their numbers, whatever lies between, and nobody waits for ever.
 * Method: each instance of the head has every n-th number and sends any of those that are near enough,
 * again as soon as others have passed.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ModuleSpec, type StageSpec, startPipe } from '../../src/pipe/mod.ts';

const code = (source: string, options?: unknown): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
  options,
});

const BRING = `export default ({ count, seed }) => ({ async runAsync(c) {
  let state = seed + c.instance;
  const random = (below) => { state = (state * 1103515245 + 12345) & 0x7fffffff; return (state >> 8) % below; };
  let left = [];
  for (let n = c.instance + 1; n <= count; n += c.instances) left.push(n);
  let seen = 0;
  while (left.length > 0) {
    seen = c.passed(seen);
    const near = left.filter((n) => n - seen <= c.carriedMax);
    if (near.length === 0) { seen = await c.passedLater(seen); continue; }
    const n = near[random(near.length)];
    left = left.filter((other) => other !== n);
    const b = await c.allocBufLater();
    b.setWord(0, n);
    c.carry(b, n);
    c.sendBuf(b);
  } } })`;
const PASS = `export default { process(b) { return b; } }`;
/** Sends one buffer of its own for each, and drops every seventh. */
const REPLACE = `export default () => { let c; return { open(x) { c = x; }, process(b) {
  if (b.word(0) % 7 === 0) { c.freeBuf(b); return null; }
  const copy = c.allocBuf(); copy.setWord(0, b.word(0)); c.inherit(copy, b); c.freeBuf(b); return copy; } } }`;
const LIST = `export default () => { let c; const got = []; return {
  open(x) { c = x; }, process(b) { got.push(b.word(0)); }, close() { c.post(got); } } }`;

test('numbers from elsewhere arrive in order, over any stages and with gaps', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        heads: fc.integer({ min: 1, max: 3 }),
        passes: fc.integer({ min: 0, max: 2 }),
        replaces: fc.integer({ min: 0, max: 2 }),
        count: fc.integer({ min: 0, max: 200 }),
        spare: fc.integer({ min: 0, max: 5 }),
        seed: fc.nat(1e6),
      }),
      async ({ heads, passes, replaces, count, spare, seed }) => {
        const stages: StageSpec[] = [
          {
            name: 'head',
            instances: heads,
            carries: true,
            modules: [code(BRING, { count, seed })],
          },
        ];
        if (passes > 0) stages.push({ name: 'pass', instances: passes, modules: [code(PASS)] });
        if (replaces > 0) {
          const modules = [code(REPLACE)];
          stages.push({ name: 'replace', instances: replaces, allocates: true, modules });
        }
        stages.push({ name: 'tail', ordered: true, modules: [code(LIST)] });
        let got: unknown;
        const pipe = await startPipe({
          maxBuffers: heads + replaces + spare,
          payloadBytes: 64,
          stages,
          onMessage: (_stage, _instance, message) => {
            got = message;
          },
        });
        await pipe.done;
        const wanted = Array.from({ length: count }, (_, i) => i + 1);
        deepEqual(
          got,
          wanted.filter((n) => replaces === 0 || n % 7 !== 0),
        );
        equal(pipe.status().buffers.free, heads + replaces + spare);
      },
    ),
    { numRuns: 15 },
  );
});
