/**
 * Bacula with one job for each of several folders, all at once, to one File volume: a director with its catalog in
 * SQLite, a storage daemon and a file daemon of our own, on loopback, with everything in memory.
 *
 * Contract: undefined where its programs are missing, which is said; its daemons end with the work.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
// biome-ignore lint/correctness/noUnresolvedImports: the linter's list of Node's modules is older
import { DatabaseSync } from 'node:sqlite';
import { renewFolder } from './places.ts';
import { endsWithUs } from './server.ts';

export interface BaculaRun {
  /** With the start and the end of its daemons. */
  readonly elapsedMs: number;
  /** From the first job's start to the end of the last. */
  readonly writingMs: number;
}

const PROGRAMS = ['bacula-dir', 'bacula-sd', 'bacula-fd', 'bconsole'].map(
  (name) => `/usr/sbin/${name}`,
);
const TABLES = '/usr/share/dbconfig-common/data/bacula-director-sqlite3/install/sqlite3';
const LIMIT_MS = 120_000;

export async function runBacula(
  paths: readonly string[],
  folder: string,
  say: (line: string) => void,
): Promise<BaculaRun | undefined> {
  const missing = [...PROGRAMS, TABLES].find((path) => !isThere(path));
  if (missing !== undefined) {
    say(`bacula is not measured: there is no ${missing}`);
    return undefined;
  }
  say(`bacula: ${paths.length} jobs`);
  renewFolder(folder);
  mkdirSync(join(folder, 'volumes'));
  const tables = new DatabaseSync(join(folder, 'bacula.db'));
  tables.exec(readFileSync(TABLES, 'utf8'));
  tables.close();
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  writeSettings(folder, paths, ports);
  const [director = '', storage = '', file = '', console = ''] = PROGRAMS;
  const startedMs = performance.now();
  const daemons = [
    startDaemon(storage, join(folder, 'sd.conf')),
    startDaemon(file, join(folder, 'fd.conf')),
    startDaemon(director, join(folder, 'dir.conf')),
  ];
  try {
    const jobs = paths.map((_, i) => `run job=job${i} yes`);
    const talk = ['@output /dev/null', ...jobs, 'wait', '@output', 'list jobs', 'quit'];
    const writing = await talkTo(console, join(folder, 'console.conf'), talk);
    const ended = writing.output.match(/\|\s*T\s*\|\s*$/gm) ?? [];
    if (ended.length !== paths.length)
      throw new Error(`bacula: ${ended.length} jobs of ${paths.length} ended well`);
    return { elapsedMs: performance.now() - startedMs, writingMs: writing.elapsedMs };
  } finally {
    for (const daemon of daemons) await daemon.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

function isThere(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

function startDaemon(program: string, settings: string): { end(): Promise<void> } {
  const child: ChildProcess = spawn(program, ['-f', '-c', settings], { stdio: 'ignore' });
  return { end: endsWithUs(child) };
}

/** Says commands to the director, once it is there. */
async function talkTo(
  program: string,
  settings: string,
  lines: readonly string[],
): Promise<{ output: string; elapsedMs: number }> {
  const until = performance.now() + LIMIT_MS;
  for (;;) {
    const startedMs = performance.now();
    const child = spawn(program, ['-n', '-c', settings], { stdio: ['pipe', 'pipe', 'ignore'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${lines.join('\n')}\n`);
    const status = await new Promise((resolve) => child.once('close', resolve));
    if (status === 0 && output.includes('JobId')) {
      return { output, elapsedMs: performance.now() - startedMs };
    }
    if (performance.now() > until) throw new Error(`bacula's director does not answer: ${output}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function writeSettings(folder: string, paths: readonly string[], ports: readonly number[]): void {
  const [director, storage, file] = ports;
  const common = (name: string, port: number | undefined): string => `
  Name = ${name}
  WorkingDirectory = "${folder}"
  Pid Directory = "${folder}"
  Maximum Concurrent Jobs = 20
  ${name === 'bench-dir' ? 'DirAddress' : name === 'bench-sd' ? 'SDAddress' : 'FDAddress'} = 127.0.0.1
  ${name === 'bench-dir' ? 'DIRport' : name === 'bench-sd' ? 'SDPort' : 'FDport'} = ${port}`;
  const jobs = paths.map(
    (path, i) => `
FileSet { Name = set${i}
  Include { Options { signature = MD5 }
    File = "${path}" } }
Job { Name = job${i}
  Type = Backup
  Level = Full
  Client = bench-fd
  FileSet = set${i}
  Storage = File
  Pool = Default
  Messages = Quiet
  Maximum Concurrent Jobs = 20 }`,
  );
  writeFileSync(
    join(folder, 'dir.conf'),
    `Director {${common('bench-dir', director)}
  QueryFile = "/dev/null"
  Password = "bench"
  Messages = Quiet }
Catalog { Name = Bench
  dbname = "bacula"
  DB Address = ""
  dbuser = ""
  dbpassword = "" }
Client { Name = bench-fd
  Address = 127.0.0.1
  FDPort = ${file}
  Catalog = Bench
  Password = "bench"
  Maximum Concurrent Jobs = 20 }
Storage { Name = File
  Address = 127.0.0.1
  SDPort = ${storage}
  Password = "bench"
  Device = Images
  Media Type = File
  Maximum Concurrent Jobs = 20 }
Pool { Name = Default
  Pool Type = Backup
  Label Format = "Vol" }
Messages { Name = Quiet
  catalog = all, !skipped }
${jobs.join('')}
`,
  );
  writeFileSync(
    join(folder, 'sd.conf'),
    `Storage {${common('bench-sd', storage)} }
Director { Name = bench-dir
  Password = "bench" }
Device { Name = Images
  Media Type = File
  Archive Device = "${folder}/volumes"
  LabelMedia = yes
  Random Access = yes
  AutomaticMount = yes
  RemovableMedia = no
  AlwaysOpen = no
  Maximum Concurrent Jobs = 20 }
Messages { Name = Quiet
  director = bench-dir = all }
`,
  );
  writeFileSync(
    join(folder, 'fd.conf'),
    `FileDaemon {${common('bench-fd', file)} }
Director { Name = bench-dir
  Password = "bench" }
Messages { Name = Quiet
  director = bench-dir = all, !skipped }
`,
  );
  writeFileSync(
    join(folder, 'console.conf'),
    `Director { Name = bench-dir
  DIRport = ${director}
  address = 127.0.0.1
  Password = "bench" }
`,
  );
}
