/** Tail of pipe-words: writes what arrives one behind the other. */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { ModuleContext, PipeModule } from '../src/mod.ts';

export default function write(path: string): PipeModule {
  const file = openSync(path, 'w');
  let context: ModuleContext;
  return {
    open: (given) => {
      context = given;
    },
    process: (buffer) => {
      context.progress(0, buffer.length);
      for (let at = 0; at < buffer.length; ) {
        at += writeSync(file, buffer.payload(), at, buffer.length - at);
      }
    },
    close: () => closeSync(file),
    abort: () => closeSync(file),
  };
}
