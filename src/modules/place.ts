/**
 * Stage `place`: the tail of a backup. Writes sealed blocks into chunks, and commits them when they
 * are full, at a checkpoint and at the end. The initiator is told of each durable chunk.
 */
import { must } from '../base/assert.ts';
import { fromKeyringRecord, type KeyringRecord } from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import { type ChunkMedia, type ChunkMediaPlace, openChunkMedia } from '../format/chunk-media.ts';
import { openCodec, openRandom } from '../host/mod.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { COUNTER, WORD } from './backup-buffers.ts';
import { ChunkWriter, type ChunkWriterOptions } from './chunk-writer.ts';

export interface PlaceOptions {
  readonly keyring: KeyringRecord;
  readonly media: ChunkMediaPlace;
  readonly chunks: ChunkWriterOptions;
}

export default function place(options: PlaceOptions): PipeModule {
  let writer: ChunkWriter | undefined;
  let media: ChunkMedia | undefined;
  let context: ModuleContext | undefined;
  return {
    open: async (given) => {
      const keyring = fromKeyringRecord(options.keyring);
      const random = openRandom();
      const sealer = new Sealer(keyring, openCodec(keyring.nameKey), random);
      context = given;
      media = await openChunkMedia(options.media);
      writer = new ChunkWriter(options.chunks, media, sealer, random, (chunk) =>
        given.post({ type: 'placed', chunk }, [chunk.names.buffer]),
      );
    },
    process: (buffer: PipeBuffer) => {
      const headerBytes = buffer.word(WORD.headerBytes);
      const stored = must(writer, 'placing was opened').block({
        memory: buffer.memory,
        headerAt: buffer.payloadOffset - headerBytes,
        bytes: headerBytes + buffer.length,
        contentClass: buffer.word(WORD.contentClass),
        blobCount: buffer.word(WORD.blobCount),
        directoryAt: buffer.directoryOffset,
      });
      context?.progress(COUNTER.blocksStored, 1);
      context?.progress(COUNTER.bytesStored, stored);
    },
    control: (message) => {
      if (message === 'commit') writer?.commitAll();
    },
    close: () => {
      writer?.commitAll();
      media?.close();
    },
    abort: () => writer?.discard(),
  };
}
