/**
 * Streams through pipes whose ends are programs (P10).
 *
 * Goal: whatever the pieces in which a stream is written, the pauses of who writes and who reads, the size
 * and number of buffers, and the threads in between: what was written comes out, once and in order, and
 * both ends learn that all is well.
 * Method: random pipes in this process, random writing and reading.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { attachHead, attachTail, initiatePipe, unboundModule } from '../../src/mod.ts';
import { scratchFolder } from '../commands.ts';
import { noise } from '../tree-make.ts';

const UPPER = new URL('../../examples/pipe-words-upper.ts', import.meta.url);
const stateDirectory = join(scratchFolder(), 'state');
mkdirSync(stateDirectory, { mode: 0o700 });

const planArbitrary = fc.record({
  seed: fc.nat(),
  pieces: fc.array(fc.oneof(fc.nat(300), fc.nat(80_000), fc.constant(0)), { maxLength: 12 }),
  pauses: fc.array(fc.nat(11), { maxLength: 12 }),
  reads: fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1, maxLength: 5 }),
  payloadBytes: fc.integer({ min: 1, max: 30_000 }),
  spare: fc.nat(4),
  instances: fc.nat(3),
});

/** What the module in between makes of it. */
const upper = (bytes: Buffer): Buffer =>
  bytes.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte)) as Buffer;

test('what is written comes out, however it is written and read', async () => {
  await fc.assert(
    fc.asyncProperty(planArbitrary, async (plan) => {
      const { seed, pieces, pauses, reads, spare, instances } = plan;
      const sent = pieces.map((length, i) => noise(length, `${seed} ${i}`));
      // Not so many buffers that the test takes long.
      const length = sent.reduce((sum, piece) => sum + piece.length, 0);
      const payloadBytes = Math.max(plan.payloadBytes, Math.ceil(length / 200));
      const middle = { name: 'upper', modules: [{ module: UPPER }], instances };
      const pipe = await initiatePipe(
        {
          maxBuffers: 1 + spare,
          payloadBytes,
          stages: [
            { name: 'in', modules: [unboundModule()] },
            ...(instances === 0 ? [] : [middle]),
            { name: 'out', modules: [unboundModule()], ordered: true },
          ],
        },
        { stateDirectory },
      );
      const at = { stateDirectory, pipe: pipe.name };
      const write = async (): Promise<void> => {
        const head = await attachHead(at);
        for (const [i, piece] of sent.entries()) {
          head.write(piece);
          const pause = pauses[i] ?? 0;
          if (pause > 8) await sleep(pause);
        }
        head.end();
        await finished(head);
        equal(head.bytes, length);
      };
      const read = async (): Promise<Buffer> => {
        const tail = await attachTail(at);
        const got: Buffer[] = [];
        let i = 0;
        for await (const bytes of tail as AsyncIterable<Buffer>) {
          got.push(bytes);
          if (bytes.length > (reads[i++ % reads.length] as number)) await sleep(1);
        }
        await tail.outcome;
        return Buffer.concat(got);
      };
      const [got] = await Promise.all([read(), write(), pipe.done]);
      const wanted = Buffer.concat(sent);
      const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
      equal(got.length, length);
      deepEqual(digest(got), digest(instances === 0 ? wanted : upper(wanted)));
    }),
    { numRuns: 25 },
  );
});
