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
export type { ChapSecrets } from './scsi/iscsi-chap.ts';
export {
  type DiscoveredTarget,
  discoverTargets,
  IscsiDevice,
  type IscsiOptions,
} from './scsi/iscsi-initiator.ts';
export { TapeLibrary } from './scsi/library.ts';
