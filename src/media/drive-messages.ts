/**
 * What the main thread and the thread of a drive (drive-thread.ts) tell each other. Parts of chunks go
 * another way: over the memory of calls (pipe/call-memory.ts).
 */
import type { ByteString } from '../base/bytes.ts';
import type { ErrorRecord } from '../base/errors.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import type { ChapSecrets } from '../scsi/iscsi-chap.ts';
import type { MountRequest } from './mount-requests.ts';
import type { CommittedChunk } from './volume-commits.ts';
import type { SessionEntry } from './volume-index.ts';
import type { ReadFigures } from './volume-reader.ts';
import type { LogPlace } from './volume-session.ts';
import type { StreamingFigures } from './volume-streaming.ts';

export interface ImageMedium {
  readonly kind: 'tape-image';
  readonly path: ByteString;
  /** What it may hold. */
  readonly volumeBytes: number;
}

/** A drive for tapes. */
export interface DriveAddress {
  readonly device: string;
  /** Which of the library's drives it is, from 1; absent where it has one, or tells which is which. */
  readonly drive?: number;
}

/** A tape, and where it may be: in one of some drives, or in the library that serves them. */
export interface TapeMedium {
  readonly kind: 'tape';
  /** The volume's name: the tape's label, but for the kind of cartridge. */
  readonly name: string;
  /** At least one; that which is taken first comes first. */
  readonly drives: readonly DriveAddress[];
  readonly changer?: string;
  readonly chap?: ChapSecrets;
}

/** A medium that a drive can take. */
export type Medium = ImageMedium | TapeMedium;

/** A volume to be written. */
export interface WritableVolume {
  readonly medium: Medium;
  readonly label: VolumeLabel;
  /** The label's record as it is to be written; absent when the medium bears it already. */
  readonly newLabel?: Uint8Array;
  /** Objects that are known to be on it: with fewer it is damaged, or an older copy, and not written. */
  readonly leastObjects?: number;
}

/** A volume to be read. */
export interface ReadableVolume {
  readonly volume: string;
  readonly name: string;
  readonly medium: Medium;
  readonly blockBytes: number;
  /** Chunks on it, all or in part. */
  readonly chunks: readonly ReadableChunk[];
  /** Log pages that are kept beside it, by session. */
  readonly beside: readonly { readonly session: number; readonly pages: readonly Uint8Array[] }[];
}

export interface ReadableChunk {
  readonly id: string;
  /** Of the whole chunk, its trailer included. */
  readonly bytes: number;
  /** Its records on this volume lie between these objects. */
  readonly firstObject: number;
  readonly endObject: number;
}

export interface WriteSession {
  readonly id: string;
  readonly writer: string;
  readonly markBytes: number;
  readonly syncBytes?: number;
  readonly bufferBytes?: number;
  readonly startLevel?: number;
  readonly logPlace: LogPlace;
  readonly logPerRecord: boolean;
  /** Of tapes: any one, for the drive and the library in which they are asked for. */
  readonly tape?: TapeMedium;
}

/** What became of one volume. */
export interface WrittenReport {
  readonly volume: string;
  readonly objects: number;
  readonly bytes: number;
  readonly entry: SessionEntry | undefined;
  readonly pages: readonly Uint8Array[];
  /** It has no room for more. */
  readonly isFull: boolean;
}

export interface DriveReport {
  readonly written: readonly WrittenReport[];
  readonly streaming: StreamingFigures | undefined;
  readonly reading: ReadFigures;
}

/** What is answered. */
export type DriveQuestion =
  /** Writes to the first of the volumes that can be. */
  | {
      readonly type: 'write';
      readonly session: WriteSession;
      readonly volumes: readonly WritableVolume[];
    }
  | { readonly type: 'read'; readonly volumes: readonly ReadableVolume[] }
  /** Answered when there are buffers for the stream. */
  | { readonly type: 'open-stream'; readonly stream: string }
  | { readonly type: 'end-stream'; readonly stream: string }
  /** A whole chunk in its parts; answered when it is on the medium. */
  | { readonly type: 'put'; readonly chunk: string; readonly parts: readonly Uint8Array[] }
  /** A part of a chunk; answered when it was taken. */
  | {
      readonly type: 'part';
      readonly chunk: string;
      readonly position: number;
      readonly bytes: Uint8Array;
    }
  | { readonly type: 'discard'; readonly chunk: string }
  /** Ends the session that is being written, and closes the volumes that are read. */
  | { readonly type: 'finish' }
  /** After `finish`: others may write to the volumes. */
  | { readonly type: 'release' }
  /** Answered when all that was told before is on its way. */
  | { readonly type: 'barrier' };

/** From the main thread. Questions have an id, under which they are answered. */
export type DriveRequest =
  | (DriveQuestion & { readonly id: number })
  /** The answer to what the thread has asked. */
  | {
      readonly type: 'told';
      readonly ask: number;
      readonly told?: Told;
      readonly error?: ErrorRecord;
    }
  /** Whether tapes that are not there are asked for; `never` ends what is waited for too. */
  | { readonly type: 'mounts'; readonly are: 'asked' | 'held' | 'never' }
  | { readonly type: 'close' };

/** What the thread asks of the main thread, and is told. */
export type DriveAsk =
  /** Of which volumes is the first that can be written next? `full`: the one before has no room left. */
  | { readonly about: 'next'; readonly full: string | undefined }
  /** Tell people that a tape is wanted, if it is not too late for that; answered with whether they were told. */
  | { readonly about: 'mount'; readonly request: MountRequest; readonly askedMs: number }
  /** May this volume of ours, which nobody else can write to now, be labelled anew? */
  | { readonly about: 'replace'; readonly volume: string; readonly isEmpty: boolean };
export type Told = readonly WritableVolume[] | boolean;

/** From the drive's thread. */
export type DriveMessage =
  | {
      readonly type: 'answer';
      readonly id: number;
      readonly report?: DriveReport;
      readonly error?: ErrorRecord;
    }
  | ({ readonly type: 'ask'; readonly ask: number } & DriveAsk)
  /** The drive, or the file, says that this volume may not be written. */
  | { readonly type: 'protected'; readonly volume: string }
  /** A damaged volume, copy of a chunk, or drive that cannot be used is passed over, and another one is taken. */
  | { readonly type: 'passed-over'; readonly error: ErrorRecord }
  /** This volume is being written from now on; another one was there before it was labelled. */
  | { readonly type: 'loaded'; readonly volume: string; readonly replaced?: string }
  | { readonly type: 'committed'; readonly chunk: CommittedChunk };
