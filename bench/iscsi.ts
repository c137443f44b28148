/**
 * A tape drive behind iSCSI: what is written and read through a volume, beside programs that only move blocks
 * to and from a disk of the same target, `iscsi-perf` (libiscsi) and `qemu-img bench`, with the same length of
 * block, in turns.
 *
 *     node bench/iscsi.ts              alone
 *
 * A tape takes one command after the other, so those are given one at a time too; iscsi-perf is shown with its
 * usual 32 besides. Debian's tgt is the target, on loopback, with its settings as they come; tape and disk lie
 * in memory.
 *
 * Contract: measures what is there of tgt and the programs; what is missing is said. Ends its processes.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { openScsiVolume } from '../src/media/scsi-volume.ts';
import { parseIscsiAddress } from '../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../src/scsi/iscsi-initiator.ts';
import { TgtServer, tgtMissing } from '../test/tgt.ts';
import { Figures } from './figures.ts';
import { makeFolder, removeFolders, tmpfsFolder } from './places.ts';
import { markdown, megabytes, type Target, targetsTable } from './table.ts';

type Say = (line: string) => void;

const KIB = 1024;
const BLOCKS = [256 * KIB, 1024 * KIB];
const TOTAL_BYTES = 192 * KIB * KIB;
const SECTOR_BYTES = 512;
const PERF_MS = 1500;
const LEAST = 0.8;
const PROGRAMS = ['penstock', 'iscsi-perf', 'iscsi-perf, 32', 'qemu-img'] as const;

const titleOf = (work: 'write' | 'read', bytes: number): string =>
  `iSCSI, ${work} blocks of ${bytes / KIB} KiB`;

export async function runDrives(folder: string, rounds: number, say: Say): Promise<Figures> {
  const figures = new Figures();
  const missing = tgtMissing();
  if (missing !== undefined) {
    say(`iSCSI is not measured: ${missing}`);
    return figures;
  }
  const server = await TgtServer.start(folder);
  try {
    const tid = await server.addTarget();
    const tape = await server.makeTape('BENCH1', (4 * TOTAL_BYTES) / KIB / KIB);
    await server.addDrive(tid, 1, tape);
    const disk = join(server.folder, 'disk');
    writeFileSync(disk, '');
    truncateSync(disk, TOTAL_BYTES);
    await server.addDisk(tid, 2, disk);
    for (let round = 0; round < rounds; round++) {
      for (const bytes of BLOCKS) {
        say(`${titleOf('read', bytes)}: round ${round + 1}`);
        await measureTape(server.url(tid, 1), bytes, figures);
        await measureOthers(server.url(tid, 2), bytes, figures);
      }
    }
  } finally {
    await server.stop();
  }
  return figures;
}

async function measureTape(url: string, bytes: number, figures: Figures): Promise<void> {
  const volume = await openScsiVolume(new IscsiDevice(parseIscsiAddress(url)));
  const record = Buffer.alloc(bytes, 0x5a);
  const count = TOTAL_BYTES / bytes;
  const measure = async (work: 'write' | 'read', step: () => Promise<unknown>): Promise<void> => {
    await volume.rewind();
    const startMs = performance.now();
    for (let i = 0; i < count; i++) await step();
    const rate = (TOTAL_BYTES / (performance.now() - startMs)) * 1000;
    figures.add(titleOf(work, bytes), 'penstock', 'bytes a second', rate);
  };
  await measure('write', () => volume.append(record));
  await measure('read', () => volume.read(record));
  await volume.close();
}

async function measureOthers(url: string, bytes: number, figures: Figures): Promise<void> {
  const add = (work: 'write' | 'read', program: string, rate: number | undefined): void => {
    if (rate !== undefined) figures.add(titleOf(work, bytes), program, 'bytes a second', rate);
  };
  // The disk is written first: holes read faster.
  add('write', 'qemu-img', await qemuRate(url, bytes, ['-w']));
  add('read', 'qemu-img', await qemuRate(url, bytes, []));
  add('read', 'iscsi-perf', await perfRate(url, bytes, 1));
  add('read', 'iscsi-perf, 32', await perfRate(url, bytes, 32));
}

/** Undefined where it is not installed, or cannot speak iSCSI. */
async function qemuRate(url: string, bytes: number, words: string[]): Promise<number | undefined> {
  const count = TOTAL_BYTES / bytes;
  const sizes = ['-d', '1', '-s', String(bytes), '-c', String(count)];
  const all = ['bench', ...words, '-t', 'none', '-f', 'raw', ...sizes, url];
  const run = promisify(execFile)('qemu-img', all, { timeout: 60_000 });
  const { stdout } = await run.catch(() => ({ stdout: '' }));
  const seconds = /completed in ([\d.]+) seconds/.exec(stdout)?.[1];
  return seconds === undefined ? undefined : TOTAL_BYTES / Number(seconds);
}

/** It goes on until it is interrupted, and tells its average. */
async function perfRate(url: string, bytes: number, depth: number): Promise<number | undefined> {
  const words = ['-m', String(depth), '-b', String(bytes / SECTOR_BYTES), url];
  const child = spawn('iscsi-perf', words, { stdio: ['ignore', 'pipe', 'ignore'] });
  let told = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (told += text));
  const ended = once(child, 'close').catch(() => undefined);
  await Promise.race([ended, pause(PERF_MS)]);
  child.kill('SIGINT');
  await ended;
  const averages = [...told.matchAll(/iops average (\d+)/g)];
  const average = averages.at(-1)?.[1];
  return average === undefined ? undefined : Number(average) * bytes;
}

export function drivesTable(figures: Figures): string {
  const rows = figures.works.map((work) => [
    work,
    ...PROGRAMS.map((program) => {
      const rate = figures.of(work, program, 'bytes a second');
      return rate === undefined ? '' : `${megabytes(rate)}/s`;
    }),
  ]);
  return markdown(['tape drive, and disks of the same target', ...PROGRAMS], rows);
}

const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;

export function driveTargets(figures: Figures): Target[] {
  const targets: Target[] = [];
  for (const bytes of BLOCKS) {
    for (const [work, program] of [
      ['read', 'iscsi-perf'],
      ['write', 'qemu-img'],
    ] as const) {
      const title = titleOf(work, bytes);
      const own = figures.of(title, 'penstock', 'bytes a second');
      const theirs = figures.of(title, program, 'bytes a second');
      const got = own === undefined || theirs === undefined ? undefined : own / theirs;
      targets.push({
        what: `${title}, of what ${program} reaches`,
        least: percent(LEAST),
        got: got === undefined ? undefined : percent(got),
        ok: got !== undefined && got >= LEAST,
      });
    }
  }
  return targets;
}

if (import.meta.main) {
  const folder = makeFolder(tmpfsFolder());
  process.once('exit', removeFolders);
  const say: Say = (line) => void process.stderr.write(`${line}\n`);
  const figures = await runDrives(folder, 3, say);
  process.stdout.write(`${drivesTable(figures)}\n\n${targetsTable(driveTargets(figures))}\n`);
}
