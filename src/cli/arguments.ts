/**
 * The arguments and variables that this process was started with, as bytes.
 *
 * Contract: Node.js decodes both as UTF-8 and so loses other bytes, but file names may have any.
 * Where something was lost the original is read from /proc; where that does not help the decoded
 * form stands. A process that the launcher started reads the launcher's: it got them decoded.
 */
import { readFileSync } from 'node:fs';
import { type ByteString, fromText, toBytes } from '../base/bytes.ts';

const LOST = '\ufffd';

/** The arguments after the program's name. */
export function originalArguments(decoded: readonly string[], launched: boolean): ByteString[] {
  if (!decoded.some((argument) => argument.includes(LOST))) return decoded.map(fromText);
  const original = readStrings(launched, 'cmdline').slice(-decoded.length);
  const agrees = original.length === decoded.length && original.every(isOriginalOf(decoded));
  return agrees ? original : decoded.map(fromText);
}

/** A variable of the environment; undefined where it is not set. */
export function originalVariable(
  environment: Readonly<Record<string, string | undefined>>,
  name: string,
  launched: boolean,
): ByteString | undefined {
  const decoded = environment[name];
  if (decoded === undefined) return undefined;
  if (!decoded.includes(LOST)) return fromText(decoded);
  const line = readStrings(launched, 'environ').find((text) => text.startsWith(`${name}=`));
  const original = line?.slice(name.length + 1);
  return original !== undefined && isOriginalOf([decoded])(original, 0)
    ? original
    : fromText(decoded);
}

/** The strings of /proc/PID/cmdline or environ, each ended by a zero byte. */
function readStrings(launched: boolean, file: 'cmdline' | 'environ'): ByteString[] {
  try {
    const owner = launched ? process.ppid : 'self';
    return readFileSync(`/proc/${owner}/${file}`, 'latin1').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

function isOriginalOf(
  decoded: readonly string[],
): (original: ByteString, index: number) => boolean {
  return (original, index) => toBytes(original).toString('utf8') === decoded[index];
}
