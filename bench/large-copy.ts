/**
 * One large file that cannot be compressed, copied across loopback: by `penstock copy`, which encrypts, and
 * by rsync over its daemon, which does not. Beside them what cannot be left out, each measured alone: TLS
 * over as many connections, reading the file, writing a new one.
 *
 * Contract: rounds in which both have their turn, each into an empty folder and touched memory; what arrived in the
 * first round is compared. Processor time is that of both ends.
 */
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { throughBareTls } from './bare-tls.ts';
import { type Command, runCommand } from './commands.ts';
import { childrenCpuSeconds, cpuSecondsOf } from './cost.ts';
import type { Figures } from './figures.ts';
import { penstockCommand } from './peers.ts';
import { renewFolder, touchMemory } from './places.ts';
import { startRsync } from './rsync.ts';
import { startServer } from './server.ts';
import { makeNoise } from './sources.ts';
import { megabytes } from './table.ts';

export const LARGE_COPY = 'one large file over loopback';
const PIECE_BYTES = 1 << 20;
const SETTLE_MS = 200;

export async function runLargeCopy(
  folder: string,
  bytes: number,
  rounds: number,
  figures: Figures,
  say: (line: string) => void,
): Promise<void> {
  const work = renewFolder(join(folder, 'large-copy'));
  const source = join(work, 'noise');
  say(`making ${megabytes(bytes)} of noise`);
  await makeNoise(source, bytes);
  const programs = [await penstock(work, source)];
  const other = await rsync(work, source);
  if (other !== undefined) programs.push(other);
  try {
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < programs.length; turn++) {
        const program = programs[(turn + round) % programs.length] as Copier;
        say(`${LARGE_COPY}: ${program.name}`);
        renewFolder(program.target);
        touchMemory(work, bytes);
        const before = cpuSecondsOf(program.pid) + childrenCpuSeconds();
        const { elapsedMs } = await runCommand(program.command);
        // A process of the server that served it ends a little later.
        await sleep(SETTLE_MS);
        const cpu = cpuSecondsOf(program.pid) + childrenCpuSeconds() - before;
        figures.add(LARGE_COPY, program.name, 'bytes a second', bytes / (elapsedMs / 1000));
        figures.add(LARGE_COPY, program.name, 'cpu seconds', cpu / (bytes / 1e9));
        const args = [source, join(program.target, 'noise')];
        if (round === 0) await runCommand({ program: 'cmp', args });
        renewFolder(program.target);
      }
      say(`${LARGE_COPY}: its parts alone`);
      const connections = Math.min(4, availableParallelism());
      const tls = await throughBareTls(connections, bytes);
      figures.add(LARGE_COPY, 'TLS', 'bytes a second', tls.bytesPerSecond);
      figures.add(LARGE_COPY, 'TLS', 'cpu seconds', tls.cpuSecondsPerGb);
      touchMemory(work, bytes);
      measureFiles(source, join(work, 'written'), bytes, figures);
    }
  } finally {
    for (const { end } of programs) await end();
    rmSync(work, { recursive: true, force: true });
  }
}

interface Copier {
  readonly name: string;
  /** Of the server. */
  readonly pid: number;
  readonly target: string;
  readonly command: Command;
  end(): Promise<void>;
}

async function penstock(work: string, source: string): Promise<Copier> {
  const target = join(work, 'penstock');
  mkdirSync(target);
  const state = join(work, 'client');
  const server = await startServer(work);
  await server.pair(state, '--copy-path', target);
  const to = `${server.address}:${target}/noise`;
  const command = penstockCommand('copy', source, to, '--state', state, '--quiet');
  return { name: 'penstock', pid: server.pid, target, command, end: server.end };
}

/** Undefined where there is no rsync. */
async function rsync(work: string, source: string): Promise<Copier | undefined> {
  const target = join(work, 'rsync');
  mkdirSync(target);
  const server = await startRsync(work, { target });
  if (server === undefined) return undefined;
  const args = ['--whole-file', '--inplace', source, `${server.url('target')}/noise`];
  return { name: 'rsync', target, command: { program: 'rsync', args }, ...server };
}

/** Reads the file through, and writes a new one, with memory that is used again. */
function measureFiles(source: string, target: string, bytes: number, figures: Figures): void {
  const piece = Buffer.alloc(PIECE_BYTES, 1);
  const measure = (name: string, path: string, flags: string, act: (fd: number) => void): void => {
    const fd = openSync(path, flags);
    const before = process.cpuUsage();
    const startMs = performance.now();
    act(fd);
    const { user, system } = process.cpuUsage(before);
    const seconds = (performance.now() - startMs) / 1000;
    closeSync(fd);
    figures.add(LARGE_COPY, name, 'bytes a second', bytes / seconds);
    figures.add(LARGE_COPY, name, 'cpu seconds', (user + system) / 1e6 / (bytes / 1e9));
  };
  measure('reading', source, 'r', (fd) => {
    while (readSync(fd, piece) > 0);
  });
  measure('writing', target, 'wx', (fd) => {
    for (let at = 0; at < bytes; at += PIECE_BYTES) writeSync(fd, piece);
  });
  rmSync(target);
}
