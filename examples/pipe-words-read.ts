/** Head of pipe-words: the bytes of a file, a buffer at a time. Leaves room for bytes that do not pack. */
import { closeSync, openSync, readSync } from 'node:fs';
import type { ModuleContext, PipeModule } from '../src/mod.ts';

export default function read(path: string): PipeModule {
  const file = openSync(path, 'r');
  let context: ModuleContext;
  return {
    open: (given) => {
      context = given;
    },
    fill: (buffer) => {
      buffer.length = readSync(file, buffer.payload(), 0, buffer.payloadCapacity - 1024, null);
      context.progress(0, buffer.length);
      return buffer.length > 0;
    },
    close: () => closeSync(file),
    abort: () => closeSync(file),
  };
}
