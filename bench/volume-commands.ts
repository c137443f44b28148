/**
 * Whole commands on volumes: eight folders of a tree at once to one image, beside Bacula with eight jobs and one
 * File volume (bacula.ts); and one of the eight restored, beside the same data written alone.
 *
 * What is compared: Penstock starts, loads its code, derives its key and ends within its time. So do Bacula's
 * three daemons within the longer one of its times; its other is from the first job's start to the end of the
 * last. Bacula neither compresses nor encrypts here; like for like with it is Penstock with `--level 0` in a
 * repository that was made with `--no-encryption`. Names and checksums it takes all the same.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runBacula } from './bacula.ts';
import { type Run, runCommand } from './commands.ts';
import { childrenCpuSeconds } from './cost.ts';
import type { Figures } from './figures.ts';
import { penstockCommand } from './peers.ts';
import { renewFolder } from './places.ts';
import type { Target } from './table.ts';

const FOLDERS = ['fs', 'net', 'sound', 'mm', 'kernel', 'lib', 'arch/x86', 'drivers/net'];
const RESTORED = 'kernel';

const SEALED = 'volumes: eight folders, compressed and encrypted';
const CLEAR = 'volumes: eight folders, compressed';
const NEITHER = 'volumes: eight folders, neither';
const BACULA_WRITING = 'volumes: eight folders, neither, without start-up';
const RESTORE = 'volumes: restore one of eight';
const RESTORE_ALONE = 'volumes: restore what was written alone';

interface Summary {
  readonly archives?: readonly ArchiveSummary[];
  readonly archive?: string;
  readonly bytesStored?: number;
  readonly volumes?: { readonly bytesRead: number; readonly recordsOfOthers: number };
  readonly drive?: { readonly waitedMs: number; readonly totalMs: number };
}
interface ArchiveSummary {
  readonly archive: string;
  readonly name: string;
  readonly bytesStored: number;
}

export async function runVolumeCommands(
  source: string,
  folder: string,
  rounds: number,
  figures: Figures,
  say: (line: string) => void,
): Promise<void> {
  const paths = FOLDERS.map((name) => join(source, name)).filter(existsSync);
  if (paths.length < FOLDERS.length) {
    say(`eight folders at once are not measured: ${source} has ${paths.length} of them`);
    return;
  }
  for (let round = 0; round < rounds; round++) {
    say(`${SEALED}: round ${round + 1}`);
    const place = await makePlace(join(folder, 'sealed'));
    const each = await backUp(place, ['--each', ...paths], SEALED, figures);
    const alone = await makePlace(join(folder, 'alone'));
    const one = await backUp(alone, [join(source, RESTORED)], undefined, figures);
    const made = each.archives?.find(({ name }) => name.endsWith(`/${RESTORED}`));
    if (made === undefined || one.archive === undefined) throw new Error('no archive was made');
    const target = join(folder, 'restored');
    const read = await restore(place, made.archive, target, RESTORE, figures);
    await restore(alone, one.archive, target, RESTORE_ALONE, figures);
    figures.add(RESTORE, 'penstock', 'ratio', (read.volumes?.bytesRead ?? 0) / made.bytesStored);
    figures.add(RESTORE, 'penstock', 'other records', read.volumes?.recordsOfOthers ?? Number.NaN);
    for (const [name, work, ...how] of [
      ['clear', CLEAR],
      ['neither', NEITHER, '--level', '0'],
    ] as const) {
      const clear = await makePlace(join(folder, name), '--no-encryption');
      await backUp(clear, ['--each', ...how, ...paths], work, figures);
      rmSync(join(folder, name), { recursive: true, force: true });
    }
    for (const name of ['sealed', 'alone', 'restored'])
      rmSync(join(folder, name), { recursive: true, force: true });
    const theirs = await runBacula(paths, join(folder, 'bacula'), say);
    if (theirs === undefined) continue;
    figures.add(NEITHER, 'bacula', 'ms', theirs.elapsedMs);
    figures.add(BACULA_WRITING, 'bacula', 'ms', theirs.writingMs);
  }
}

/** A repository with a pool in a folder of its own. */
async function makePlace(folder: string, ...how: string[]): Promise<string> {
  renewFolder(folder);
  const repository = join(folder, 'repository');
  const tapes = join(folder, 'tapes');
  mkdirSync(tapes);
  const repo = ['--repo', repository, '--quiet'];
  await runCommand(penstockCommand('init', ...how, ...repo));
  const settings = ['--kind', 'tape-image', '--path', tapes, '--volume-size', '8G'];
  await runCommand(penstockCommand('pool', 'add', 'tapes', ...settings, ...repo));
  return repository;
}

async function backUp(
  repository: string,
  what: readonly string[],
  work: string | undefined,
  figures: Figures,
): Promise<Summary> {
  const where = ['--pool', 'tapes', '--repo', repository, '--json'];
  return await measure(['backup', ...what, ...where], work, figures);
}

async function restore(
  repository: string,
  archive: string,
  target: string,
  work: string,
  figures: Figures,
): Promise<Summary> {
  rmSync(target, { recursive: true, force: true });
  const where = ['--target', target, '--repo', repository, '--json'];
  return await measure(['restore', archive, ...where], work, figures);
}

async function measure(
  args: readonly string[],
  work: string | undefined,
  figures: Figures,
): Promise<Summary> {
  const cpuBefore = childrenCpuSeconds();
  const run = await runCommand(penstockCommand(...args));
  const summary = summaryOf(run);
  if (work === undefined) return summary;
  figures.add(work, 'penstock', 'ms', run.elapsedMs);
  figures.add(work, 'penstock', 'cpu seconds', childrenCpuSeconds() - cpuBefore);
  figures.add(work, 'penstock', 'peak bytes', run.peakBytes);
  const { drive } = summary;
  if (drive !== undefined)
    figures.add(work, 'penstock', 'waited', drive.waitedMs / Math.max(1, drive.totalMs));
  return summary;
}

const summaryOf = ({ output }: Run): Summary =>
  JSON.parse(output.trimEnd().split('\n').at(-1) ?? '{}') as Summary;

export function addCommandTargets(figures: Figures): Target[] {
  const penstock = (work: string): number => figures.of(work, 'penstock', 'ms') ?? Number.NaN;
  const theirs = figures.of(NEITHER, 'bacula', 'ms') ?? Number.NaN;
  const peak = figures.of(SEALED, 'penstock', 'peak bytes') ?? Number.NaN;
  const read = figures.of(RESTORE, 'penstock', 'ratio') ?? Number.NaN;
  const others = figures.of(RESTORE, 'penstock', 'other records') ?? Number.NaN;
  const atMost = (what: string, value: number, most: number, digits = 2): Target => ({
    what,
    least: `≤ ${most.toFixed(digits)}`,
    got: Number.isNaN(value) ? undefined : value.toFixed(digits),
    ok: value <= most,
  });
  return [
    atMost(`${SEALED}, times the time of bacula`, penstock(SEALED) / theirs, 2),
    atMost(`${NEITHER}, times the time of bacula`, penstock(NEITHER) / theirs, 1),
    atMost(`${SEALED}: memory, MB`, peak / 1e6, 300, 0),
    atMost(`${RESTORE}: bytes read, times its own`, read, 1.05),
    atMost(`${RESTORE}: records of other streams read`, others, 0, 0),
    atMost(
      `${RESTORE}, times the time of what was written alone`,
      penstock(RESTORE) / penstock(RESTORE_ALONE),
      1.3,
    ),
  ];
}
