/**
 * Whether a codec gives the answers that it must, before any data is trusted to it: once a codec.
 *
 * Contract: known answers in both directions, and that damage is refused; to throw is to fail.
 */
import type { Codec } from './codec.ts';

/** AES-256-GCM, key and nonce of zeros, 16 bytes of zeros: case 14 of the GCM specification. */
const ZEROS_SEALED = 'cea7403d4d606b6e074ec5d3baf39d18';
const ZEROS_TAG = 'd0d1c8a799996bf0265b98b5d48ab919';
/** The key of bytes 1, with associated data. */
const ASSOCIATED: Uint8Array = Buffer.from('penstock');
const PLAIN = 'known answer of a codec';
const PLAIN_SEALED = 'd45bf7ab1b1b62d1e00ef737514ba761d4e6fcdfe1fa57';
const PLAIN_TAG = '3a056e772c260ba26ac6204a622eb8ac';
/** A zstd frame made by hand: 300 bytes `a` as one repeat block. */
const FRAME: Uint8Array = Buffer.from('28b52ffd602c0063090061', 'hex');
const CRC_TEXT: Uint8Array = Buffer.from('123456789');
const CRC_ANSWER = 0xe3069283;
const LEVEL = 3;

export function passesSelfTest(codec: Codec): boolean {
  try {
    return (
      codec.crc32c(CRC_TEXT, 0, CRC_TEXT.length) === CRC_ANSWER &&
      sealsZeros(codec) &&
      sealsText(codec) &&
      decompresses(codec) &&
      compresses(codec)
    );
  } catch {
    return false;
  }
}

function sealsZeros(codec: Codec): boolean {
  const bytes = Buffer.alloc(16);
  const tag = Buffer.alloc(16);
  codec.seal(Buffer.alloc(32), Buffer.alloc(0), bytes, 0, 16, tag);
  return bytes.toString('hex') === ZEROS_SEALED && tag.toString('hex') === ZEROS_TAG;
}

function sealsText(codec: Codec): boolean {
  const key = Buffer.alloc(32, 1);
  // The range begins and ends within its view, and nothing around it may change.
  const bytes = Buffer.from(`<${PLAIN}>`);
  const tag = Buffer.alloc(16);
  codec.seal(key, ASSOCIATED, bytes, 1, PLAIN.length, tag);
  const sealed = bytes.toString('hex');
  if (sealed !== `3c${PLAIN_SEALED}3e` || tag.toString('hex') !== PLAIN_TAG) return false;
  const damaged = Buffer.from(bytes);
  if (!codec.open(key, ASSOCIATED, bytes, 1, PLAIN.length, tag)) return false;
  if (bytes.toString() !== `<${PLAIN}>`) return false;
  damaged[3] = (damaged[3] as number) ^ 1;
  return !codec.open(key, ASSOCIATED, damaged, 1, PLAIN.length, tag) && damaged[1] === 0;
}

function decompresses(codec: Codec): boolean {
  const target = Buffer.alloc(302);
  if (codec.decompress(FRAME, 0, FRAME.length, target, 1, 300) !== 300) return false;
  if (target.toString() !== `\0${'a'.repeat(300)}\0`) return false;
  return codec.decompress(FRAME, 0, FRAME.length, target, 1, 299) === -1;
}

function compresses(codec: Codec): boolean {
  const content = Buffer.from(PLAIN.repeat(40));
  const frame = Buffer.alloc(content.length);
  const length = codec.compress(content, 0, content.length, frame, 0, frame.length, LEVEL);
  if (length <= 0 || length >= content.length) return false;
  if (codec.compress(content, 0, content.length, Buffer.alloc(8), 0, 8, LEVEL) !== -1) return false;
  const back = Buffer.alloc(content.length);
  const backLength = codec.decompress(frame, 0, length, back, 0, back.length);
  return backLength === content.length && back.equals(content);
}
