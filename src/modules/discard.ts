/**
 * Tail that only counts: what a dry run of a backup would store.
 */
import type { ModuleContext, PipeModule } from '../pipe/mod.ts';
import { COUNTER, WORD } from './backup-buffers.ts';

export default function discard(): PipeModule {
  let context: ModuleContext | undefined;
  return {
    open: (given) => {
      context = given;
    },
    process: (buffer) => {
      context?.progress(COUNTER.blocksStored, 1);
      context?.progress(COUNTER.bytesStored, buffer.word(WORD.headerBytes) + buffer.length);
    },
  };
}
