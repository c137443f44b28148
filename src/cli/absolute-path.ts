/**
 * Paths that are kept: they are used from other working directories too.
 */
import { realpathSync } from 'node:fs';
import { type ByteString, fromBytes } from '../base/bytes.ts';

/** The path from the root, as it is now; links in it stay. */
export function absolutePath(path: ByteString): ByteString {
  const whole = path.startsWith('/') ? path : `${workingDirectory()}/${path}`;
  const parts: string[] = [];
  for (const part of whole.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

/** Its bytes: process.cwd() has text. */
function workingDirectory(): ByteString {
  return fromBytes(realpathSync.native(Buffer.from('.'), { encoding: 'buffer' }));
}
