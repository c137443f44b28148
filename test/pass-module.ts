/** What stands in the middle of the tests' pipes: it changes nothing, and fails at the buffer that its options name. */
import { assert } from '../src/base/assert.ts';
import type { PipeModule } from '../src/pipe/mod.ts';

export default function pass(options?: unknown): PipeModule {
  return {
    process(buffer) {
      assert(buffer.word(0) !== options, 'the middle fails when it is told to');
    },
    control: () => options,
  };
}
