/**
 * The programs that are measured side by side, each with the commands for the same works.
 *
 * Contract: everybody runs with their own defaults, encrypted where they can, with caches of their
 * own inside the place of the measurement. Making the repository is not measured.
 */
import { spawnSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import type { Command } from './commands.ts';
import { launcherFile } from './product.ts';

/** Where one program works; all of it is new for each round. */
export interface Place {
  readonly source: string;
  readonly repository: string;
  readonly target: string;
  /** For caches and settings. */
  readonly state: string;
}

export interface Program {
  readonly name: string;
  readonly version: string;
  /** Makes what the first backup needs. */
  prepare(place: Place): Command | undefined;
  /** Backs up; `round` 2 comes after 1 with nothing changed. */
  backup(place: Place, round: 1 | 2): Command;
  restore(place: Place): Command;
  /** Where the restored source lies. */
  restored(place: Place): string;
  /** Whether a second backup is something else than a first one. */
  readonly incremental: boolean;
}

const PASSPHRASE = 'bench';

/** The command line of the Penstock that is measured. */
export function penstockCommand(...args: string[]): Command {
  return {
    program: process.execPath,
    args: [launcherFile(), ...args],
    environment: { PENSTOCK_PASSPHRASE: PASSPHRASE },
  };
}

/** Penstock first, then what is found on PATH. */
export function findPrograms(): Program[] {
  const programs: Program[] = [
    penstock(spawnVersion(process.execPath, [launcherFile(), '--version'])),
  ];
  const resticVersion = spawnVersion('restic', ['version']);
  if (resticVersion !== '') programs.push(restic(resticVersion));
  const borgVersion = spawnVersion('borg', ['--version']);
  if (borgVersion !== '') programs.push(borg(borgVersion));
  const zstdVersion = spawnVersion('zstd', ['--version']);
  if (zstdVersion !== '' && spawnVersion('tar', ['--version']) !== '') {
    programs.push(tarZstd(zstdVersion));
  }
  return programs;
}

/** The first number with a point that a program says of itself; empty where there is none. */
function spawnVersion(program: string, args: readonly string[]): string {
  const { stdout } = spawnSync(program, args, { encoding: 'utf8' });
  return /\d+\.[\d.]*\d/.exec(stdout ?? '')?.[0] ?? '';
}

function penstock(version: string): Program {
  const command = (place: Place, ...args: string[]): Command =>
    penstockCommand(...args, '--repo', place.repository, '--state', place.state, '--quiet');
  return {
    name: 'penstock',
    version,
    incremental: true,
    prepare: (place) => command(place, 'init'),
    backup: (place) => command(place, 'backup', place.source),
    restore: (place) => command(place, 'restore', 'latest', '--target', place.target),
    restored: ({ source, target }) => join(target, source),
  };
}

function restic(version: string): Program {
  const command = (place: Place, ...args: string[]): Command => ({
    program: 'restic',
    args: ['--quiet', '--repo', place.repository, '--cache-dir', place.state, ...args],
    environment: { RESTIC_PASSWORD: PASSPHRASE },
  });
  return {
    name: 'restic',
    version,
    incremental: true,
    prepare: (place) => command(place, 'init'),
    backup: (place) => command(place, 'backup', place.source),
    restore: (place) => command(place, 'restore', 'latest', '--target', place.target),
    restored: ({ source, target }) => join(target, source),
  };
}

function borg(version: string): Program {
  const command = (place: Place, folder: string | undefined, ...args: string[]): Command => ({
    program: 'borg',
    args,
    ...(folder === undefined ? {} : { folder }),
    environment: {
      BORG_PASSPHRASE: PASSPHRASE,
      BORG_BASE_DIR: place.state,
      BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
    },
  });
  const archive = (place: Place, round: number): string => `${place.repository}::${round}`;
  return {
    name: 'borg',
    version,
    incremental: true,
    prepare: (place) => command(place, undefined, 'init', '-e', 'repokey-blake2', place.repository),
    backup: (place, round) =>
      command(place, undefined, 'create', archive(place, round), place.source),
    restore: (place) => command(place, place.target, 'extract', archive(place, 1)),
    restored: ({ source, target }) => join(target, source),
  };
}

/** Neither encrypts nor discards duplicates: what compressing alone costs. */
function tarZstd(version: string): Program {
  const shell = (script: string, ...args: string[]): Command => ({
    program: 'sh',
    args: ['-c', script, 'sh', ...args],
  });
  const file = (place: Place): string => join(place.repository, 'archive.tar.zst');
  return {
    name: 'tar | zstd',
    version,
    incremental: false,
    prepare: (place) => shell('mkdir -p "$1"', place.repository),
    backup: (place) =>
      shell(
        'tar -cf - -C "$1" "$2" | zstd -q -3 -T0 -o "$3"',
        dirname(place.source),
        basename(place.source),
        file(place),
      ),
    restore: (place) => shell('zstd -dc "$1" | tar -xf - -C "$2"', file(place), place.target),
    restored: ({ source, target }) => join(target, basename(source)),
  };
}
