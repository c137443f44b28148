/**
 * What it costs to move a buffer through a pipe: microseconds per hand-over, that is per buffer and
 * stage boundary, through threads that do nothing with it.
 *
 *     node bench/pipe-handover.ts [BUFFERS_SENT]
 */
import { startPipe } from '../src/pipe/mod.ts';

const HEAD = `export default ({ count }) => ({ run(c) { for (let i = 0; i < count; i++) {
  const b = c.allocBuf(); b.length = 1; c.sendBuf(b); } } })`;
const PASS = 'export default { process(buffer) { return buffer; } }';
const code = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;

interface Case {
  readonly name: string;
  readonly maxBuffers: number;
  readonly instances: number;
  readonly ordered?: boolean;
}

const CASES: readonly Case[] = [
  { name: 'three threads, 1 buffer', maxBuffers: 1, instances: 1 },
  { name: 'three threads, 4 buffers', maxBuffers: 4, instances: 1 },
  { name: 'three threads, 32 buffers', maxBuffers: 32, instances: 1 },
  { name: 'four threads (two in the middle), 32 buffers', maxBuffers: 32, instances: 2 },
  { name: 'the same, in order', maxBuffers: 32, instances: 2, ordered: true },
];

async function measure(one: Case, count: number): Promise<number> {
  const { maxBuffers, instances, ordered = false } = one;
  const pipe = await startPipe({
    maxBuffers,
    payloadBytes: 4096,
    stages: [
      { name: 'head', modules: [{ module: code(HEAD), options: { count } }] },
      { name: 'middle', instances, ordered, modules: [{ module: code(PASS) }] },
      { name: 'tail', modules: [{ module: code(PASS) }] },
    ],
  });
  return (await pipe.done).elapsedMs;
}

const count = Number(process.argv[2] ?? 200_000);
for (const one of CASES) {
  // What starting costs is taken off by a pipe that carries next to nothing.
  await measure(one, 1);
  const startMs = await measure(one, 1);
  const times = [];
  for (let round = 0; round < 3; round++) times.push((await measure(one, count)) - startMs);
  // Head to middle, middle to tail, tail to the free pool.
  const perHandOver = (Math.min(...times) * 1000) / (count * 3);
  console.log(
    `${one.name.padEnd(46)} ${perHandOver.toFixed(2)} us (start ${startMs.toFixed(0)} ms)`,
  );
}
