/**
 * Head and tail of the pipes that only measure what is between: one sends buffers full of random bytes, the
 * other takes them.
 */
/** Fills each buffer once and sends it again and again; `count` buffers. */
const FILL = `import { randomFillSync } from 'node:crypto';
export default ({ count }) => ({ run(c) { const filled = new Set(); for (let i = 0; i < count; i++) {
  const b = c.allocBuf();
  if (!filled.has(b.index)) {
    filled.add(b.index);
    const bytes = b.payload();
    for (let at = 0; at < bytes.length; at += 4096) randomFillSync(bytes.subarray(at, at + 4096));
  }
  b.length = b.payloadCapacity; c.sendBuf(b); } } })`;
const TAKE = 'export default { process() {} }';
const code = (source: string): URL => new URL(`data:text/javascript,${encodeURIComponent(source)}`);

export const FILL_MODULE: URL = code(FILL);
export const TAKE_MODULE: URL = code(TAKE);
