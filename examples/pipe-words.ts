/**
 * A pipe of one's own: reads a text file, writes it in capitals, compressed, by two threads at a time.
 *
 *     node examples/pipe-words.ts words.txt words.gz && zcat words.gz
 */
import { type PipeSummary, startPipe } from '../src/mod.ts';

const [source, target] = process.argv.slice(2);
const module = (name: string): URL => new URL(`./pipe-words-${name}.ts`, import.meta.url);

const pipe = await startPipe({
  maxBuffers: 8,
  payloadBytes: 256 * 1024,
  stages: [
    { name: 'read', modules: [{ module: module('read'), options: source }] },
    {
      name: 'pack',
      modules: [{ module: module('upper') }, { module: module('gzip') }],
      instances: 2,
    },
    { name: 'write', modules: [{ module: module('write'), options: target }], ordered: true },
  ],
});
const { counters, elapsedMs }: PipeSummary = await pipe.done;
console.log(
  `${counters.read?.[0]} bytes became ${counters.write?.[0]} in ${elapsedMs.toFixed(0)} ms`,
);
