/**
 * A module for tests of pipes with several heads or tails: sends each buffer to the stage that its first
 * byte names, among those that its options list.
 */
import type { ModuleContext, PipeModule } from '../src/pipe/mod.ts';

export const DIVIDE_MODULE: URL = new URL(import.meta.url);

export default function divide(stages: readonly string[]): PipeModule {
  return {
    run(context: ModuleContext) {
      for (let buffer = context.receiveBuf(); buffer !== null; buffer = context.receiveBuf()) {
        const stage = stages[(buffer.memory[buffer.payloadOffset] as number) % stages.length];
        context.sendBuf(buffer, stage);
      }
    },
  };
}
