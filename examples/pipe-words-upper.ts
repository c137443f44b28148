/** Makes the ASCII letters of a buffer capitals, in place. */
import type { PipeModule } from '../src/mod.ts';

const upper: PipeModule = {
  process(buffer) {
    const payload = buffer.payload();
    for (let i = 0; i < buffer.length; i++) {
      const byte = payload[i] as number;
      if (byte >= 0x61 && byte <= 0x7a) payload[i] = byte - 0x20;
    }
  },
};

export default upper;
