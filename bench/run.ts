/**
 * Measures Penstock beside restic, borg and tar with zstd, whichever are on PATH:
 *
 *   npm run bench -- [DIR] [--disk DIR] [--large-size SIZE] [--many] [--repeat N] [--sources] [--json]
 *
 * DIR (a directory, or a tar archive) is copied into memory, where repository and target are too;
 * default: Debian's kernel sources if they are there, else node_modules. --disk does the same on a
 * disk too. --large-size: of the files of text and noise, 2G by default, 0 for none, and of the file that
 * is copied beside rsync (links.ts). --many measures memory with 100,000 and 1,000,000 small files.
 * Figures are medians of --repeat rounds (3). What is measured is the package, built and installed for it as
 * users have it; with --sources this tree as it is.
 *
 * Contract: reports what it got even where that falls short; ends its processes and removes its
 * folders however it ends; exit status 0, or 1 when something could not be measured.
 */
import { mkdirSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseSize } from '../src/base/units.ts';
import { endCommands } from './commands.ts';
import { copiesTable, copyTargets, runCopies } from './copy.ts';
import { Figures } from './figures.ts';
import { drivesTable, driveTargets, runDrives } from './iscsi.ts';
import { linksTable, linkTargets, runLinks } from './links.ts';
import { findPrograms, type Program } from './peers.ts';
import {
  assertRoom,
  makeFolder,
  removeFolders,
  renewFolder,
  sizeOfTree,
  tmpfsFolder,
} from './places.ts';
import { measurePrimitives, type PrimitiveTimes } from './primitives.ts';
import { describeProduct, measureInstalled } from './product.ts';
import { runRemote } from './remote.ts';
import { defaultSource, isArchive, makeMany, makeNoise, makeText, placeSource } from './sources.ts';
import { measureVersion, measureWorker } from './starting.ts';
import { megabytes, primitivesTable, targetsTable, worksTable } from './table.ts';
import { judge, type Measured } from './targets.ts';
import { runVolumes, volumesTable, volumeTargets } from './volumes.ts';
import { type Course, runCourse } from './works.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    disk: { type: 'string' },
    'large-size': { type: 'string', default: '2G' },
    many: { type: 'boolean', default: false },
    repeat: { type: 'string', default: '3' },
    sources: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Math.max(1, Number(values.repeat));
const largeBytes = parseSize(values['large-size']);
const MANY = [100_000, 1_000_000];
const LOAD_MAX = 0.5;
/** Source, repository and target, and a little. */
const COPIES = 3.2;
/** By how much an archive of sources grows when it is unpacked. */
const ARCHIVE_GROWTH = 12;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    say(`${signal}: removing what was made`);
    process.exit(130);
  });
}
process.once('exit', () => {
  endCommands();
  removeFolders();
});

try {
  await main();
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const load = loadavg()[0] ?? 0;
  if (load > LOAD_MAX)
    say(`load ${load.toFixed(2)}: the machine is busy, do not trust the figures`);
  const folder = makeFolder(tmpfsFolder());
  // One that cannot be is told now, not after the rest.
  const onDisk = values.disk === undefined ? undefined : makeFolder(values.disk);
  if (!values.sources) measureInstalled(join(folder, 'product'));
  const programs = findPrograms();
  const figures = new Figures();
  const { source, described } = await copySource(folder);
  await warmUp(folder, programs);
  await runCourse(course('', source, folder, programs), figures);
  await runRemote(source, folder, rounds, figures, say);
  if (onDisk !== undefined) await runOnDisk(source, onDisk, programs, figures);
  const measured: Measured = {
    figures,
    cores: availableParallelism(),
    largeBytes,
    primitives: largeBytes > 0 ? await runLarge(source, folder, programs, figures) : {},
    versionMs: await measureVersion(),
    workerMs: await measureWorker(),
    many: values.many ? await runMany(folder, programs) : new Map(),
  };
  const copies = await part('copies', () => runCopies(source, folder, rounds, say));
  const links = await part('links', () => runLinks(folder, largeBytes, rounds, say));
  const drives = await part('drives', () => runDrives(folder, rounds, say));
  const volumes = await part('volumes', () => runVolumes(source, folder, rounds, say));
  print(measured, copies, links, { drives, volumes }, programs, described, load);
}

/** A part that fails costs its own figures, not those of the others. */
async function part(name: string, run: () => Promise<Figures>): Promise<Figures> {
  try {
    return await run();
  } catch (error) {
    say(`bench: ${name}: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
    return new Figures();
  }
}

function course(title: string, source: string, folder: string, programs: Program[]): Course {
  return { title, source, folder, programs, rounds, second: true, onDisk: false, say };
}

async function copySource(folder: string): Promise<{ source: string; described: string }> {
  const wanted = positionals[0] ?? defaultSource();
  const before = sizeOfTree(wanted);
  // What an archive holds is known only once it is there.
  const expected = isArchive(wanted) ? before.bytes * ARCHIVE_GROWTH : before.storedBytes;
  assertRoom(folder, expected * COPIES, before.entries * 2, wanted);
  say(`copying ${wanted}`);
  const source = await placeSource(wanted, renewFolder(join(folder, 'source')));
  const { bytes, storedBytes, files, entries } = sizeOfTree(source);
  assertRoom(folder, storedBytes * (COPIES - 1), entries, wanted);
  // Told now, not after an hour.
  assertRoomForLarge(folder);
  if (values.many) for (const files of MANY) assertRoomForMany(folder, files);
  return { source, described: `${wanted}: ${files} files, ${megabytes(bytes)}` };
}

function assertRoomForLarge(folder: string): void {
  assertRoom(folder, largeBytes * COPIES, 16, `a file of ${megabytes(largeBytes)}`);
}

/** A page for each file, twice, and what the file system needs to know of it. */
function assertRoomForMany(folder: string, files: number): void {
  assertRoom(folder, files * 2 * 6000, files * 2.1, `a tree of ${files} files`);
}

/** Fills caches of code, and finds out whether every program works, before it takes long. */
async function warmUp(folder: string, programs: Program[]): Promise<void> {
  const source = join(folder, 'small');
  mkdirSync(source);
  await makeMany(source, 10);
  const once = { ...course('warm-up: ', source, folder, programs), rounds: 1 };
  await runCourse(once, new Figures());
}

async function runOnDisk(
  source: string,
  folder: string,
  programs: Program[],
  figures: Figures,
): Promise<void> {
  const { storedBytes, entries } = sizeOfTree(source);
  assertRoom(folder, storedBytes * COPIES, entries * 2, source);
  const copy = await placeSource(source, renewFolder(join(folder, 'source')));
  await runCourse({ ...course('disk: ', copy, folder, programs), onDisk: true }, figures);
}

async function runLarge(
  tree: string,
  folder: string,
  programs: Program[],
  figures: Figures,
): Promise<Record<string, PrimitiveTimes>> {
  const times: Record<string, PrimitiveTimes> = {};
  const kinds = {
    text: (path: string) => makeText(tree, path, largeBytes),
    noise: (path: string) => makeNoise(path, largeBytes),
  };
  for (const [kind, make] of Object.entries(kinds)) {
    assertRoomForLarge(folder);
    const source = renewFolder(join(folder, 'large'));
    const file = join(source, kind);
    say(`making ${megabytes(largeBytes)} of ${kind}`);
    await make(file);
    times[kind] = measurePrimitives(file, join(folder, 'scratch'), kind === 'text');
    const large = course(`large ${kind}: `, source, folder, programs);
    await runCourse({ ...large, second: false }, figures);
  }
  renewFolder(join(folder, 'large'));
  return times;
}

/** Peak memory of Penstock's works with trees of many small files. */
async function runMany(folder: string, programs: Program[]): Promise<Map<number, number>> {
  const peaks = new Map<number, number>();
  const own = programs.filter(({ name }) => name === 'penstock');
  for (const files of MANY) {
    assertRoomForMany(folder, files);
    const source = renewFolder(join(folder, 'many'));
    say(`making ${files} files`);
    await makeMany(source, files);
    const figures = new Figures();
    await runCourse({ ...course(`${files} files: `, source, folder, own), rounds: 1 }, figures);
    peaks.set(files, figures.peakBytes('penstock'));
  }
  return peaks;
}

function print(
  measured: Measured,
  copies: Figures,
  links: Figures,
  { drives, volumes }: { readonly drives: Figures; readonly volumes: Figures },
  programs: Program[],
  described: string,
  load: number,
): void {
  const { figures, cores, many, primitives, versionMs, workerMs } = measured;
  const machine = {
    processor: cpus()[0]?.model.trim() ?? '',
    cores,
    kernel: release(),
    node: process.versions.node,
    load,
    rounds,
  };
  const targets = [
    ...judge(measured),
    ...copyTargets(copies),
    ...linkTargets(links),
    ...driveTargets(drives),
    ...volumeTargets(volumes),
  ];
  if (values.json) {
    process.stdout.write(
      `${JSON.stringify({
        machine,
        product: describeProduct(),
        source: described,
        programs: programs.map(({ name, version }) => ({ name, version })),
        figures: figures.toJson(),
        copies: copies.toJson(),
        links: links.toJson(),
        drives: drives.toJson(),
        volumes: volumes.toJson(),
        primitives,
        versionMs,
        workerMs,
        many: Object.fromEntries(many),
        targets,
      })}\n`,
    );
    return;
  }
  const lines = [
    `${machine.processor}, ${cores} cores, Linux ${machine.kernel}, Node.js ${machine.node}; load ${load.toFixed(2)} at the start; medians of ${rounds}; ${describeProduct()}`,
    described,
    '',
    worksTable(figures, programs),
    '',
  ];
  if (Object.keys(primitives).length > 0) lines.push(primitivesTable(primitives), '');
  for (const [files, peak] of many) lines.push(`${files} files: peak memory ${megabytes(peak)}`);
  if (many.size > 0) lines.push('');
  lines.push(copiesTable(copies), '', linksTable(links), '', drivesTable(drives), '');
  lines.push(volumesTable(volumes), '');
  lines.push(targetsTable(targets));
  process.stdout.write(`${lines.join('\n')}\n`);
}
