/**
 * Waiting between attempts to connect.
 */
import { test } from 'node:test';
import { pause } from './links.ts';

/** Longer than a test may take. */
const LONG_MS = 2 ** 30;

test('a pause ends with its signal, and does not begin where that has said so before', async () => {
  await pause(LONG_MS, AbortSignal.abort());
  const end = new AbortController();
  setImmediate(() => end.abort());
  await pause(LONG_MS, end.signal);
  await pause(1, new AbortController().signal);
});
