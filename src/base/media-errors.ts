/**
 * Errors of pools and volumes; part of the table in errors.ts.
 */
import { spec } from './error-spec.ts';

export const MEDIA_ERRORS = {
  POOL_MISSING: spec(
    1,
    false,
    'the repository has no pool of that name',
    'see `penstock pool list`',
  ),
  POOL_EXISTS: spec(1, false, 'there is a pool of that name already', 'choose another name'),
  POOL_USED: spec(
    1,
    false,
    'the pool still holds data that archives need',
    'move it elsewhere with `penstock migrate`, or forget the archives and prune',
  ),
  POOL_EXHAUSTED: spec(
    1,
    true,
    'no volume of the pool has room, and none can be made',
    'label a new volume with `penstock volume label`, or give space back with `penstock prune`',
  ),
  MIGRATION_RUNS: spec(
    1,
    true,
    'another migration is at work in the repository',
    'wait until it has ended, then run the command again',
  ),
  DRIVE_SHARED: spec(
    1,
    false,
    'a drive without a library would have to read one tape and write another',
    'migrate to root, put the other tape in, then migrate from root',
  ),
  VOLUME_MISSING: spec(
    1,
    false,
    'the repository knows no such volume',
    'see `penstock volume list`',
  ),
  VOLUME_USED: spec(
    1,
    false,
    'the volume still holds data that archives need',
    'move it elsewhere with `penstock migrate`, or forget the archives and prune',
  ),
  VOLUME_UNLOGGED: spec(
    1,
    false,
    'the write log would be lost: it is kept nowhere else',
    'write it to the medium first: `penstock volume log VOLUME --append`',
  ),
  VOLUME_FULL: spec(
    1,
    true,
    'the medium has no room left',
    'load another volume of the pool, then run the command again: it continues',
  ),
  VOLUME_DAMAGED: spec(
    1,
    false,
    'a record of a volume cannot be read; a warning, with status 3, where the rest was done',
    'clean the drive and read again; what other volumes hold is not concerned',
  ),
  VOLUME_POSITION: spec(
    1,
    false,
    'the medium ends before the position that was asked for',
    'is it the right volume? its log can be made again from its records',
  ),
  VOLUME_PROTECTED: spec(
    1,
    false,
    'the medium is write-protected',
    'move the tab of the cartridge, or make the file writable',
  ),
  VOLUME_CHANGED: spec(
    1,
    true,
    'the drive was reset, or another medium was put in',
    'run the command again: the label is read first',
  ),
  VOLUME_NOT_READY: spec(
    1,
    true,
    'there is no medium in the drive, or it is not loaded',
    'load the volume',
  ),
  VOLUME_FOREIGN: spec(
    1,
    false,
    'the medium is not the volume that was expected, or holds what is not of Penstock',
    'load the right volume; to use this one all the same, and lose what is on it, use --force',
  ),
  VOLUME_IO: spec(
    1,
    true,
    'the drive answered with an error',
    'look at the drive and its cables; clean it, then run the command again: it continues',
  ),
} as const;
