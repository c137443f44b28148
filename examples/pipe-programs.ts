/**
 * A pipe between two programs, with a module of one's own in between: what comes out is in capitals.
 *
 *     node examples/pipe-programs.ts letters &
 *     echo hello | penstock attach letters --as head &
 *     penstock attach letters --as tail
 */
import { initiatePipe, unboundModule, userStateDirectory } from '../src/mod.ts';

const [name = 'letters'] = process.argv.slice(2);

const pipe = await initiatePipe(
  {
    name,
    maxBuffers: 8,
    payloadBytes: 64 * 1024,
    stages: [
      { name: 'in', modules: [unboundModule({ waitMs: 60_000 })] },
      {
        name: 'upper',
        modules: [{ module: new URL('./pipe-words-upper.ts', import.meta.url) }],
        instances: 2,
      },
      { name: 'out', modules: [unboundModule({ waitMs: 60_000 })], ordered: true },
    ],
  },
  { stateDirectory: userStateDirectory(), program: 'letters' },
);
console.log(`attach programs to ${name}`);
await pipe.done;
