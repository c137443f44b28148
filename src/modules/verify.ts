/**
 * Stage `verify`: the tail of `check --read-data`, and of a rebuild that has to read blocks for want of
 * footers. Opens each block that `fetch` sends and tells the initiator what is wrong with it, or, where
 * nothing is known of its blobs, their names.
 */
import { must } from '../base/assert.ts';
import { fromKeyringRecord, type KeyringRecord } from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import { NAME_BYTES } from '../format/block.ts';
import { openCodec, openRandom } from '../host/mod.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { FETCH_WORD } from './fetch.ts';
import { BlockVerifier } from './verify-block.ts';
import { VerifyWindow } from './verify-window.ts';

export interface VerifyOptions {
  readonly keyring: KeyringRecord;
  /** Ids of the chunks by number, as `fetch` has them. */
  readonly chunkIds: readonly string[];
}

/** Private memory of an instance: the content of one block. */
export const verifyWindowBytes = (blockRawBytes: number): number => blockRawBytes;

export type VerifyCommand = { readonly window: SharedArrayBuffer };
export const VERIFY_COUNTER = { bytesVerified: 0, blobsVerified: 1 } as const;

/** What an instance tells the initiator. */
export type VerifyMessage =
  | { readonly type: 'window'; readonly number: number }
  | {
      readonly type: 'bad';
      readonly chunk: number;
      readonly block: number;
      readonly offset: number;
      readonly bytes: number;
      readonly reason: string;
    }
  /** Names of a block of which nothing was known, 32 bytes each. */
  | {
      readonly type: 'names';
      readonly chunk: number;
      readonly block: number;
      readonly names: Uint8Array;
    };

export default function verify(options: VerifyOptions): PipeModule {
  let verifying: Verifying | undefined;
  return {
    open: (context) => {
      verifying = new Verifying(options, context);
    },
    control: (message) =>
      must(verifying, 'verifying was opened').addWindow((message as VerifyCommand).window),
    process: (buffer) => must(verifying, 'verifying was opened').process(buffer),
  };
}

class Verifying {
  readonly #context: ModuleContext;
  readonly #verifier: BlockVerifier;
  readonly #chunkIds: readonly string[];
  readonly #windows = new Map<number, VerifyWindow>();

  constructor(options: VerifyOptions, context: ModuleContext) {
    this.#context = context;
    this.#chunkIds = options.chunkIds;
    const keyring = fromKeyringRecord(options.keyring);
    const sealer = new Sealer(keyring, openCodec(keyring.nameKey), openRandom());
    this.#verifier = new BlockVerifier(sealer, context.window);
  }

  addWindow(shared: SharedArrayBuffer): undefined {
    const window = new VerifyWindow(shared);
    this.#windows.set(window.number, window);
    for (const [number, { done }] of this.#windows) if (done) this.#windows.delete(number);
  }

  process(buffer: PipeBuffer): undefined {
    const window = must(
      this.#windows.get(buffer.word(FETCH_WORD.window)),
      'the window of a block was announced',
    );
    const block = buffer.word(FETCH_WORD.block);
    const bytes = buffer.word(FETCH_WORD.bytes);
    const reason = bytes === 0 ? 'it could not be read' : this.#verify(window, block, buffer);
    const chunk = window.chunk(block);
    const number = window.blockNumber(block);
    if (reason !== undefined) {
      this.#post({
        type: 'bad',
        chunk,
        block: number,
        offset: window.offset(block),
        bytes: window.blockBytes(block),
        reason,
      });
    } else {
      const { reader, names } = this.#verifier.opener;
      this.#context.progress(VERIFY_COUNTER.blobsVerified, reader.count);
      if (window.directoryAt(block) === 0) {
        this.#post({
          type: 'names',
          chunk,
          block: number,
          names: Uint8Array.from(names.subarray(0, reader.count * NAME_BYTES)),
        });
      }
    }
    this.#context.progress(VERIFY_COUNTER.bytesVerified, window.blockBytes(block));
    if (window.blockDone()) this.#post({ type: 'window', number: window.number });
  }

  #verify(window: VerifyWindow, block: number, buffer: PipeBuffer): string | undefined {
    const at = window.directoryAt(block);
    const expected = {
      chunkId: Buffer.from(
        must(this.#chunkIds[window.chunk(block)], 'the chunk of a block has an id'),
        'hex',
      ),
      number: window.blockNumber(block),
      offset: window.offset(block),
      bytes: window.blockBytes(block),
      blobCount: window.blobCount(block),
      contentClass: window.contentClass(block),
    };
    return this.#verifier.verify(
      buffer.memory,
      buffer.headerOffset,
      expected,
      at === 0 ? undefined : window.bytes,
      at,
    );
  }

  #post(message: VerifyMessage): void {
    this.#context.post(message);
  }
}
