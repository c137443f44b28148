/**
 * Threads of a flow that are started ahead, as the first thing that its command does: while the code of
 * the command is loaded and the key is derived, one processor would have nothing to do.
 *
 * Contract: loads next to nothing itself, so it does not go through the pipe's door.
 */
import { warmThread } from '../pipe/warm.ts';
import { moduleFile } from './module-file.ts';

/** Starts threads of a backup ahead. */
export function warmBackup(): void {
  warmThread('scan', [{ module: moduleFile('scan') }]);
  warmThread('walk', [{ module: moduleFile('walk') }]);
  warmThread('place', [{ module: moduleFile('place') }]);
}

/** Starts threads of a restore ahead: the least that one has. */
export function warmRestore(): void {
  warmThread('fetch', [{ module: moduleFile('fetch') }]);
  warmThread('restore', [{ module: moduleFile('restore-files') }]);
}
