/**
 * A source of a stream for bench/volumes.ts, in a thread of its own: hands chunks to a drive as fast as it takes
 * them, or with a pause after each record.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { encodeTrailer, TRAILER_BYTES } from '../src/format/chunk.ts';
import { type ChunkMediaPlace, openChunkMedia } from '../src/format/chunk-media.ts';
import {
  finishTag,
  PART,
  setPlace,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  writeTag,
} from '../src/format/tag-header.ts';

export interface SourceTask {
  readonly media: ChunkMediaPlace;
  /** 32 hex digits each. */
  readonly stream: string;
  readonly chunk: string;
  readonly records: number;
  readonly recordBytes: number;
  readonly pauseMs: number;
}

const noCrc = (): number => 0;
const words = new Int32Array(new SharedArrayBuffer(4));
const task = workerData as SourceTask;
const { recordBytes, records } = task;
const media = await openChunkMedia(task.media);
const memory = Buffer.alloc(recordBytes, 7);
// Whoever starts it says when.
parentPort?.postMessage('ready');
parentPort?.once('message', () => {
  const sink = media.create(task.chunk, 1);
  const chunk = Buffer.from(task.chunk, 'hex');
  const stream = Buffer.from(task.stream, 'hex');
  for (let i = 0; i < records; i++) {
    const isLast = i === records - 1;
    const rawBytes = recordBytes - TAG_FIXED_BYTES;
    writeTag(memory, 0, TAG_FIXED_BYTES, {
      ...{ part: isLast ? PART.chunkFooter : PART.block, contentClass: 1, keyGeneration: 1 },
      ...{ compression: 0, encryption: 0, flags: isLast ? TAG_FLAG.lastBlock : 0 },
      ...{ rawBytes, storedBytes: rawBytes, blobCount: 0 },
    });
    setPlace(memory, 0, chunk, stream, i, i * recordBytes, i);
    finishTag(memory, 0, noCrc);
    sink.write(memory, 0, recordBytes, i * recordBytes);
    if (task.pauseMs > 0) Atomics.wait(words, 0, 0, task.pauseMs);
  }
  const end = records * recordBytes;
  sink.write(encodeTrailer(end - recordBytes, recordBytes, noCrc), 0, TRAILER_BYTES, end);
  sink.commit();
  media.close();
  parentPort?.postMessage('done');
});
