/** Compresses a buffer in place, as one member of a gzip file. An empty one stays empty. */
import { gzipSync } from 'node:zlib';
import type { PipeModule } from '../src/mod.ts';

const gzip: PipeModule = {
  process(buffer) {
    if (buffer.length > 0) {
      buffer.length = gzipSync(buffer.payload().subarray(0, buffer.length)).copy(buffer.payload());
    }
  },
};

export default gzip;
