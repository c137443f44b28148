/**
 * What a session of writing is opened with, and how it begins on each of its volumes (volume-writer.ts).
 */
import type { VolumeLabel } from '../format/volume-label.ts';
import { type Clock, openClock } from '../host/mod.ts';
import { type Volume, volumeError } from './volume.ts';
import type { CommittedChunk } from './volume-commits.ts';
import type { PaceOptions } from './volume-pace.ts';
import { type LogPlace, VolumeSession } from './volume-session.ts';
import { WriteLog } from './write-log.ts';

/** A volume that is loaded, and whose label was read or written. */
export interface LoadedVolume {
  readonly volume: Volume;
  readonly label: VolumeLabel;
  /** Objects that are known to be on it (SessionOptions). */
  readonly leastObjects?: number;
}

export interface VolumeWriterOptions extends PaceOptions {
  /** Given by the application: it names the session on each of its volumes, and its logs. */
  readonly id: string;
  /** Program and version. */
  readonly writer: string;
  /** Called when `full` has no more room. Nothing: there is no other, and the session fails. */
  readonly nextVolume?: (full: VolumeLabel) => Promise<LoadedVolume | undefined>;
  readonly onCommitted?: (chunk: CommittedChunk) => void | Promise<void>;
  /** Memory of all buffers, each as long as the pool's longest record. */
  readonly bufferBytes?: number;
  /** That memory, for whoever exchanges buffers; made here otherwise. */
  readonly buffers?: readonly Buffer[];
  /**
   * From 0 to 0.5: which part of the buffers is kept for what was written and is not synchronised. Best
   * as much as the drive itself holds back: if it loses more, the session fails.
   */
  readonly keep?: number;
  /** From 0 to 1: when a stream that had to wait goes on, as part of its even share. */
  readonly lowWater?: number;
  /** A file mark after so many bytes; 0: none but at the end. */
  readonly markBytes?: number;
  /** One entry of the log a record, instead of one a run. */
  readonly logPerRecord?: boolean;
  readonly logPlace?: LogPlace;
  /**
   * Believes no log that is on the first volume: that of this session has everything on it, found by
   * headers. So a log that is damaged is written again, also by a session without streams.
   */
  readonly rebuildLog?: boolean;
  /** The log of a volume's session; in memory by default. */
  readonly newLog?: (label: VolumeLabel) => WriteLog | Promise<WriteLog>;
  readonly clock?: Clock;
}

/** Begins on a volume, the first one or the one on which it goes on. */
export async function beginSession(
  { volume, label, leastObjects = 0 }: LoadedVolume,
  options: VolumeWriterOptions,
  continues?: string,
): Promise<{ session: VolumeSession; log: WriteLog }> {
  if (label.blockBytes > volume.limits.recordBytesMax) {
    const text = `the drive has records of at most ${volume.limits.recordBytesMax} bytes, the pool of ${label.blockBytes}`;
    throw volumeError('LIMIT', volume.name, undefined, text);
  }
  const log = (await options.newLog?.(label)) ?? new WriteLog();
  const session = await VolumeSession.begin(volume, label, {
    ...{ id: options.id, log, writer: options.writer, leastObjects },
    logPlace: options.logPlace ?? 'medium',
    perRecord: options.logPerRecord ?? false,
    clock: options.clock ?? openClock(),
    ...(continues === undefined ? { rebuildLog: options.rebuildLog ?? false } : { continues }),
  });
  return { session, log };
}
