/** The library's door: build and run pipes of one's own (U12). */
export { AssertionError } from './base/assert.ts';
export {
  ERRORS,
  type ErrorCode,
  type ErrorDetails,
  type ErrorRecord,
  EXIT,
  PenstockError,
} from './base/errors.ts';
export { LIMITS } from './base/limits.ts';
export type { AttachedHead, AttachedTail, Attachment } from './channel/local/attach.ts';
export type { UnboundOptions } from './channel/local/unbound.ts';
export { unboundModule } from './channel/local/unbound-stage.ts';
export type { FarStage } from './channel/net/control-channel.ts';
export type { ExtendedPipe } from './channel/net/controller.ts';
export type { FarHalf, OnwardHalf } from './channel/net/reach.ts';
export { takeChapSecrets } from './cli/chap-secrets.ts';
export { userStateDirectory } from './cli/state.ts';
export type { LabelRecord, VolumeLabel } from './format/volume-label.ts';
export type { LogEntry, LogMarks, LogRun, LogSync } from './format/write-log.ts';
export { openScsiVolume } from './media/scsi-volume.ts';
export { openTapeImage, TapeImage, type TapeImageOptions } from './media/tape-image.ts';
export {
  isVolumeError,
  type Spaced,
  type SpaceStop,
  type Volume,
  type VolumeErrorCode,
  type VolumeLimits,
  type VolumePosition,
  type VolumeRead,
  type VolumeStatus,
  volumeError,
} from './media/volume.ts';
export {
  type ChunkPart,
  type ChunkTaker,
  copyChunk,
  partsOfChunk,
  sumChunk,
} from './media/volume-chunks.ts';
export {
  pagesOnMedium,
  readContents,
  type SessionEntry,
  type VolumeContents,
} from './media/volume-index.ts';
export {
  type Inspected,
  inspectVolume,
  type LabelOptions,
  labelVolume,
} from './media/volume-label.ts';
export {
  planVolumeRead,
  type VolumePlan,
  type VolumeSegment,
  type WantedChunk,
} from './media/volume-plan.ts';
export {
  type ReadFigures,
  type ReadProblem,
  type ReadRecord,
  VolumeReader,
} from './media/volume-reader.ts';
export { newScanReport, type ScanReport, scanVolume } from './media/volume-scan.ts';
export {
  type RecordPlace,
  type VolumeStream,
  VolumeWriter,
  type WriterReport,
  type WrittenVolume,
} from './media/volume-writer.ts';
export type { LoadedVolume, VolumeWriterOptions } from './media/volume-writer-options.ts';
export { entriesOf, type LogPages, MemoryLogPages, WriteLog } from './media/write-log.ts';
export {
  type LogFigures,
  type StreamFigures,
  type StreamSlice,
  writeLogFigures,
} from './media/write-log-figures.ts';
export { LogFile, openLogFile } from './media/write-log-file.ts';
export { logFiguresSvg } from './media/write-log-picture.ts';
export { logEntryJson, logEntryText, type StreamName } from './media/write-log-text.ts';
export {
  type AttachRequest,
  attachHead,
  attachTail,
  extendPipe,
  type FarMachine,
  type FarPipeOptions,
  initiatePipe,
  type PipeOwner,
} from './monitor/own-pipes.ts';
export { externalCommand } from './mover/external-command.ts';
export {
  attachSegment,
  createSegment,
  type InstanceStatus,
  type ModuleContext,
  type ModuleSpec,
  makePipeName,
  type Pipe,
  PipeBuffer,
  type PipeModule,
  type PipeModuleFactory,
  type PipeSpec,
  type PipeStatus,
  PipeStopped,
  type PipeSummary,
  type Segment,
  type SegmentConfig,
  type StageSpec,
  type StageStatus,
  startPipe,
} from './pipe/mod.ts';
export type { LibraryElement } from './scsi/changer-commands.ts';
export { type IscsiAddress, parseIscsiAddress } from './scsi/iscsi-address.ts';
export type { ChapSecrets, ChapSource } from './scsi/iscsi-chap.ts';
export {
  type DiscoveredTarget,
  discoverTargets,
  IscsiDevice,
  type IscsiOptions,
} from './scsi/iscsi-initiator.ts';
export { TapeLibrary } from './scsi/library.ts';
