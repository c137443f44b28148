/**
 * Waits for conditions, however slow the machine is.
 *
 * Contract: a condition that never comes about fails the test that waits for it.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 5;
const PATIENCE_MS = 60_000;

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const startedMs = performance.now();
  while (!(await holds())) {
    assert.ok(performance.now() - startedMs < PATIENCE_MS, `still not so: ${holds}`);
    await sleep(POLL_MS);
  }
}
