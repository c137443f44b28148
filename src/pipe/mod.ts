/** Door of the pipe: what callers and modules use (U12). */
export { PipeBuffer } from './buffer.ts';
export type { SegmentConfig } from './layout.ts';
export type { ModuleContext, PipeModule, PipeModuleFactory } from './module.ts';
export { type Pipe, type PipeSummary, startPipe } from './pipe.ts';
export { attachSegment, createSegment, type Segment } from './segment.ts';
export {
  isSafePoint,
  type ModuleSpec,
  makePipeName,
  type PipeSpec,
  type StageSpec,
} from './spec.ts';
export type { InstanceStatus, PipeStatus, StageStatus } from './status.ts';
export { PipeStopped } from './waiting.ts';
export { dropWarmThreads, keepThreads } from './warm.ts';
