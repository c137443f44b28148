/**
 * The port for messages that are encrypted and decrypted piece by piece, from one memory into another: AES-256-GCM
 * (NIST SP 800-38D), nonces of 12 bytes, tags of 16.
 *
 * Contract, for every implementation: `begin`, any number of `update`, `end`; one message at a time. A message that
 * is begun anew is forgotten. What an opener has put down is not to be believed before `end` has said so. Views
 * may lie on shared memory; nothing is written outside of the given ranges. A KEY MUST SEE EACH NONCE ONCE.
 */
import { PenstockError } from '../base/errors.ts';
import { NodeMessageOpener, NodeMessageSealer } from './message-cipher-node.ts';
import { NativeMessageOpener, NativeMessageSealer } from './native/message-cipher-native.ts';

interface MessageCipher {
  readonly kind: 'native' | 'node';
  /** @param key 32 bytes @param nonce 12 bytes; both are copied */
  begin(key: Uint8Array, nonce: Uint8Array): void;
  /** The next `length` bytes of the message, at most 2^31 - 1. */
  update(
    source: Uint8Array,
    sourceOffset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
  ): void;
  /** Gives native memory back; it must not be used after that. */
  close(): void;
}

export interface MessageSealer extends MessageCipher {
  /** Puts the tag into `tag`, 16 bytes. */
  end(tag: Uint8Array): void;
}

export interface MessageOpener extends MessageCipher {
  /** Whether this is the tag, 16 bytes, of the message that was put down. */
  end(tag: Uint8Array): boolean;
}

/**
 * Native where the running Node offers what that needs and a known answer comes out, else by node:crypto, which
 * allocates; PENSTOCK_CODEC=node asks for the latter.
 *
 * @throws PenstockError NOT_SUPPORTED where neither gives the answers that it must
 */
export function openMessageSealer(): MessageSealer {
  isNative ??= findOut();
  return (isNative ? NativeMessageSealer.create() : undefined) ?? new NodeMessageSealer();
}

/** As `openMessageSealer`. */
export function openMessageOpener(): MessageOpener {
  isNative ??= findOut();
  return (isNative ? NativeMessageOpener.create() : undefined) ?? new NodeMessageOpener();
}

/** What this thread takes; undefined: not found out yet. */
let isNative: boolean | undefined;

function findOut(): boolean {
  const native = process.env.PENSTOCK_CODEC !== 'node';
  if (native && answers(NativeMessageSealer.create, NativeMessageOpener.create)) return true;
  const sealer = (): MessageSealer => new NodeMessageSealer();
  if (answers(sealer, () => new NodeMessageOpener())) return false;
  throw new PenstockError(
    'NOT_SUPPORTED',
    'encryption does not give the answers that it must on this machine',
    { hint: 'use a Node.js of version 24.15 or newer from nodejs.org' },
  );
}

/** Key and nonce of zeros, 32 bytes of zeros in two pieces; computed with another implementation. */
const SEALED = 'cea7403d4d606b6e074ec5d3baf39d18726003ca37a62a74d1a2f58e7506358e';
const TAG = 'd1d3084c99aa8a9fdabb3e83eb28c15d';

function answers(
  makeSealer: () => MessageSealer | undefined,
  makeOpener: () => MessageOpener | undefined,
): boolean {
  try {
    return answersRightly(makeSealer(), makeOpener());
  } catch {
    // A symbol, or the package that calls it, is not there.
    return false;
  }
}

function answersRightly(
  sealer: MessageSealer | undefined,
  opener: MessageOpener | undefined,
): boolean {
  if (sealer === undefined || opener === undefined) return false;
  const [key, nonce, tag] = [Buffer.alloc(32), Buffer.alloc(12), Buffer.alloc(16)];
  const sealed = Buffer.alloc(32);
  sealer.begin(key, nonce);
  sealer.update(Buffer.alloc(32), 0, 5, sealed, 0);
  sealer.update(Buffer.alloc(32), 5, 27, sealed, 5);
  sealer.end(tag);
  if (sealed.toString('hex') !== SEALED || tag.toString('hex') !== TAG) return false;
  const opened = Buffer.alloc(32, 1);
  opener.begin(key, nonce);
  opener.update(sealed, 0, 32, opened, 0);
  if (!opener.end(tag) || !opened.equals(Buffer.alloc(32))) return false;
  tag[0] = (tag[0] as number) ^ 1;
  opener.begin(key, nonce);
  opener.update(sealed, 0, 32, opened, 0);
  const isRefused = !opener.end(tag);
  sealer.close();
  opener.close();
  return isRefused;
}
