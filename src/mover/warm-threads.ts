/**
 * Threads of a flow that are started ahead, as the first thing that its command does: while the code of
 * the command is loaded and the key is derived, one processor would have nothing to do.
 *
 * Contract: loads next to nothing itself, so it does not go through the pipe's door. What is there already is not
 * started again.
 */

import { availableParallelism } from 'node:os';
import { codeFile } from '../base/code-file.ts';
import { keepManyThreadsSmall } from '../host/native/memory.ts';
import { keepWarm } from '../pipe/warm.ts';
import { moduleFile } from './module-file.ts';

/** So many backups at once have their threads started ahead. */
const AHEAD_MAX = 8;

/** What is known of backups before anything of them is loaded. */
export interface BackupsAhead {
  readonly sources: number;
  readonly threads: number | undefined;
  readonly dryRun: boolean;
}

/** Threads that work for each of several backups at once. */
export function threadsOfEach(threads: number | undefined, sources: number): number {
  return Math.ceil((threads ?? availableParallelism()) / Math.max(1, sources));
}

/**
 * Starts those threads of backups ahead that every one has (backup-pipe.ts says which there are). Where nothing
 * has changed nothing is placed: that thread would cost a thirtieth of such a backup.
 */
export function warmBackup({ sources, threads, dryRun }: BackupsAhead): void {
  if (sources > 1 && threadsOfEach(threads, sources) === 1) {
    const names = ['walk', 'collect', 'seal', dryRun ? 'discard' : 'place'];
    const modules = names.map((name) => ({ module: moduleFile(name) }));
    keepManyThreadsSmall();
    keepWarm('walk', modules, Math.min(sources, AHEAD_MAX));
    return;
  }
  keepWarm('scan', [{ module: moduleFile('scan') }], 1);
  keepWarm('walk', [{ module: moduleFile('walk') }], 1);
}

/**
 * Starts the others too, while the key is derived, where all of them will have work: earlier they would hold up
 * what leads to that.
 *
 * @param isEmpty asks whether the repository holds no archive; should that fail, they start when they are needed
 */
export async function warmBackingUp(
  ahead: BackupsAhead,
  isEmpty: () => Promise<boolean>,
): Promise<void> {
  warmBackup(ahead);
  const { sources, threads, dryRun } = ahead;
  if (sources > 1 || dryRun || !(await isEmpty().catch(() => false))) return;
  keepWarm('place', [{ module: moduleFile('place') }], 1);
  const work = [{ module: moduleFile('collect') }, { module: moduleFile('seal') }];
  keepWarm('work', work, threadsOfEach(threads, sources));
}

/** Starts the thread of a restore that has work first. */
export function warmRestore(): void {
  keepWarm('fetch', [{ module: moduleFile('fetch') }], 1);
}
/** Starts the others too, while the key is derived: earlier they would hold up what leads to that. */
export function warmRestoring(threads: number): void {
  warmRestore();
  keepWarm('restore', [{ module: moduleFile('restore-files') }], threads);
}

/**
 * Starts the threads that one side of a copy will need ahead. `exists`: something is at the target, so
 * that it is listed, and perhaps nothing needs to be written; undefined: not known yet. `agents`: also those;
 * whoever begins a copy has its agents beside its event loop. `threads`: that read, and that write.
 */
export function warmCopy(
  side: 'source' | 'target' | 'both',
  exists?: boolean,
  agents: 'agents' | 'none' = 'none',
  threads: number = availableParallelism(),
): void {
  const warm = (name: string, file: URL, count = 1): void =>
    keepWarm(name, [{ module: file }], count);
  const scan = { module: moduleFile('scan') };
  const isFar = side !== 'both';
  const hasAgents = agents === 'agents';
  if (side !== 'target') {
    warm('compare', moduleFile('copy-compare'));
    if (exists === true) keepWarm('scan', [scan], 1);
    if (hasAgents) warm('send', codeFile('channel/net/send'));
    if (exists === false) warm('read', moduleFile('copy-read'), threads);
  }
  if (side !== 'source') {
    if (hasAgents) warm('receive', codeFile('channel/net/receive'));
    if (exists === true && isFar) {
      keepWarm('scan', [scan], 1);
      if (hasAgents) warm('send', codeFile('channel/net/send'));
    } else if (exists === true) keepWarm('scan', [scan, { module: moduleFile('copy-keep') }], 1);
    if (exists === false) warm('write', moduleFile('copy-write'), threads);
    if (exists === false) warm('finish', moduleFile('copy-finish'));
  }
}
