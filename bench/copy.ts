/**
 * Copies of a tree beside rsync's: to and from another machine (a daemon of each on loopback; ours
 * encrypts, rsync's does not), and within one, where cp has its turn too. Each into an empty target, then
 * once more with nothing changed.
 *
 *     node bench/copy.ts DIR [ROUNDS]       alone
 *
 * Contract: programs take turns, and each round begins with another one. What arrived in the first round
 * is compared with the source. Processor time is that of both ends.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, endCommands, runCommand } from './commands.ts';
import { childrenCpuSeconds, cpuSecondsOf } from './cost.ts';
import { Figures } from './figures.ts';
import { penstockCommand } from './peers.ts';
import { makeFolder, removeFolders, renewFolder, tmpfsFolder } from './places.ts';
import { startRsync } from './rsync.ts';
import { startServer } from './server.ts';
import { markdown, seconds, type Target, targetsTable } from './table.ts';

type Say = (line: string) => void;

const PROGRAMS = ['penstock', 'rsync', 'cp'] as const;
const WAYS = ['to another machine', 'from another machine', 'within a machine'] as const;
type Way = (typeof WAYS)[number];
const STATES = ['empty target', 'nothing changed'] as const;
const SETTLE_MS = 200;

interface Copier {
  readonly name: string;
  readonly way: Way;
  /** Processes whose time counts beside the command's own. */
  readonly pid: number | undefined;
  readonly target: string;
  readonly command: Command;
  /** Whether it passes over what is there. */
  readonly again: boolean;
}

/** Measures copies of the tree at `source`; targets lie below `folder`. */
export async function runCopies(
  source: string,
  folder: string,
  rounds: number,
  say: Say,
): Promise<Figures> {
  const figures = new Figures();
  const work = renewFolder(join(folder, 'copies'));
  const ends: (() => Promise<void>)[] = [];
  try {
    const copiers = [
      ...(await penstock(work, source, ends)),
      ...(await rsync(work, source, ends)),
      ...cp(work, source),
    ];
    for (let round = 0; round < rounds; round++) {
      for (const way of WAYS) {
        const ours = copiers.filter((copier) => copier.way === way);
        for (let turn = 0; turn < ours.length; turn++) {
          const copier = ours[(turn + round) % ours.length] as Copier;
          await measure(copier, source, round === 0, figures, say);
        }
      }
    }
  } finally {
    for (const end of ends) await end();
    rmSync(work, { recursive: true, force: true });
  }
  return figures;
}

async function measure(
  { name, way, pid, target, command, again }: Copier,
  source: string,
  first: boolean,
  figures: Figures,
  say: Say,
): Promise<void> {
  rmSync(target, { recursive: true, force: true });
  for (const state of again ? STATES : STATES.slice(0, 1)) {
    const work = `copy ${way}, ${state}`;
    say(`${work}: ${name}`);
    const cpuNow = (): number => childrenCpuSeconds() + (pid === undefined ? 0 : cpuSecondsOf(pid));
    const before = cpuNow();
    const { elapsedMs, peakBytes } = await runCommand(command);
    // A process of the server that served it ends a little later.
    await sleep(SETTLE_MS);
    figures.add(work, name, 'cpu seconds', cpuNow() - before);
    figures.add(work, name, 'ms', elapsedMs);
    figures.add(work, name, 'peak bytes', peakBytes);
  }
  // A daemon of rsync without a root of its own changes links that leave its folder.
  if (first && name !== 'rsync')
    await runCommand({ program: 'diff', args: ['-r', '--no-dereference', source, target] });
  rmSync(target, { recursive: true, force: true });
}

async function penstock(
  work: string,
  source: string,
  ends: (() => Promise<void>)[],
): Promise<Copier[]> {
  const state = join(work, 'client');
  const targets = renewFolder(join(work, 'penstock'));
  const server = await startServer(work);
  ends.push(server.end);
  await server.pair(state, '--copy-path', targets, '--copy-path', source);
  const target = join(targets, 'tree');
  const copier = (way: Way, pid: number | undefined, from: string, to: string): Copier => {
    const command = penstockCommand('copy', `${from}/`, to, '--state', state, '--quiet');
    return { name: 'penstock', way, pid, target, command, again: true };
  };
  return [
    copier('to another machine', server.pid, source, `${server.address}:${target}`),
    copier('from another machine', server.pid, `${server.address}:${source}`, target),
    copier('within a machine', undefined, source, target),
  ];
}

/** Nobody where there is no rsync. */
async function rsync(
  work: string,
  source: string,
  ends: (() => Promise<void>)[],
): Promise<Copier[]> {
  const targets = renewFolder(join(work, 'rsync'));
  const server = await startRsync(work, { source, targets });
  if (server === undefined) return [];
  ends.push(server.end);
  const target = join(targets, 'tree');
  const copier = (way: Way, pid: number | undefined, from: string, to: string): Copier => {
    const command = { program: 'rsync', args: ['-a', `${from}/`, to] };
    return { name: 'rsync', way, pid, target, command, again: true };
  };
  return [
    copier('to another machine', server.pid, source, `${server.url('targets')}/tree`),
    copier('from another machine', server.pid, server.url('source'), target),
    copier('within a machine', undefined, source, target),
  ];
}

function cp(work: string, source: string): Copier[] {
  if (spawnSync('cp', ['--version']).status !== 0) return [];
  const target = join(renewFolder(join(work, 'cp')), 'tree');
  const command = { program: 'cp', args: ['-a', source, target] };
  const way = 'within a machine';
  return [{ name: 'cp', way, pid: undefined, target, command, again: false }];
}

/** Time, and processor time of both ends. */
export function copiesTable(figures: Figures): string {
  const cell = (work: string, program: string): string => {
    const ms = figures.of(work, program, 'ms');
    const cpu = figures.of(work, program, 'cpu seconds');
    return ms === undefined ? '' : `${seconds(ms)}, ${cpu?.toFixed(1)} CPU s`;
  };
  return markdown(
    ['copy of the tree', ...PROGRAMS],
    figures.works.map((work) => [
      work.replace('copy ', ''),
      ...PROGRAMS.map((name) => cell(work, name)),
    ]),
  );
}

/** What is asked of copies between machines. */
export function copyTargets(figures: Figures): Target[] {
  return WAYS.slice(0, 2).flatMap((way) => {
    const ratioOf = (state: string): number | undefined => {
      const work = `copy ${way}, ${state}`;
      const [own, theirs] = ['penstock', 'rsync'].map((name) => figures.of(work, name, 'ms'));
      return own === undefined || theirs === undefined ? undefined : theirs / own;
    };
    const empty = ratioOf('empty target');
    const same = ratioOf('nothing changed');
    return [
      {
        what: `copy of the tree ${way}, empty target, times the speed of rsync`,
        least: '2.00',
        got: empty?.toFixed(2),
        ok: empty !== undefined && empty >= 2,
      },
      {
        what: `copy of the tree ${way}, nothing changed, times the time of rsync`,
        least: '≤ 1.50',
        got: same === undefined ? undefined : (1 / same).toFixed(2),
        ok: same !== undefined && 1 / same <= 1.5,
      },
    ];
  });
}

if (import.meta.main) {
  process.once('exit', () => {
    endCommands();
    removeFolders();
  });
  const [source = 'src', rounds = '3'] = process.argv.slice(2);
  const folder = makeFolder(tmpfsFolder());
  const say: Say = (line) => void process.stderr.write(`${line}\n`);
  const figures = await runCopies(resolve(source), folder, Number(rounds), say);
  process.stdout.write(`${copiesTable(figures)}\n\n${targetsTable(copyTargets(figures))}\n`);
}
