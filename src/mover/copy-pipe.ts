/**
 * The pipes of a copy.
 *
 *   listing:  scan (target) ──▶ keep
 *   copy:     [scan (source) ──▶] compare ──▶ read × n ──▶ write × n ──▶ finish
 *
 * Where there is nothing at the target yet, the source is scanned by `compare` itself: reading and writing are
 * what such a copy waits for. Else what is the longest would be one thread's work, while another processor idles.
 */
import type { ByteString } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import type { CompareOptions } from '../modules/copy-compare.ts';
import type { KeepOptions } from '../modules/copy-keep.ts';
import type { CopyReadOptions } from '../modules/copy-read.ts';
import type { CopyRoot } from '../modules/copy-root.ts';
import { COPY_PAYLOAD_BYTES } from '../modules/copy-stream.ts';
import type { CopyTargetOptions } from '../modules/copy-target.ts';
import type { ScanOptions } from '../modules/scan.ts';
import type { SourceNode } from '../modules/source-tree.ts';
import type { ModuleSpec, PipeSpec, StageSpec } from '../pipe/mod.ts';
import { moduleFile } from './module-file.ts';

/** Of each allocating instance: one that is filled, and some on their way. With fewer a processor has to wait. */
const BUFFERS_EACH = 4;
/** One that is filled, and one on its way, for a machine that has room for no more. */
const BUFFERS_LEAST = 2;

const NO_SELECTION: ScanOptions['selection'] = {
  exclude: [],
  include: [],
  ignoreFiles: [],
  oneFileSystem: false,
};

/** What of a root is scanned: all, or one item of it. */
export function copyScan(
  root: CopyRoot,
  item: ByteString | undefined,
  what: Pick<ScanOptions, 'mayBeMissing' | 'compares' | 'findsParts' | 'tellsOwners'>,
): ScanOptions {
  const sources: SourceNode =
    item === undefined ? {} : { children: new Map([[item, { children: new Map() }]]) };
  return { sources, selection: NO_SELECTION, root, tellsRoot: true, ...what };
}

export function scanStage(scan: ScanOptions): StageSpec {
  return { name: 'scan', modules: [{ module: moduleFile('scan'), options: scan }] };
}
/** Both in one thread: on one machine. */
export function listStage(scan: ScanOptions, keep: KeepOptions): StageSpec {
  const modules = [...scanStage(scan).modules, keepModule(keep)];
  return { name: 'scan', modules };
}
export function keepModule(keep: KeepOptions): ModuleSpec {
  return { module: moduleFile('copy-keep'), options: keep };
}
/** Whether the source is scanned by a stage of its own. */
export function scansAhead(exists: boolean, rename: ByteString | undefined): boolean {
  return exists && rename === undefined;
}
/** What compares, with what scans the source before it where there is something to compare with. */
export function compareStages(scan: ScanOptions, compare: CompareParts): StageSpec[] {
  const stage = (options: CompareOptions): StageSpec => ({
    name: 'compare',
    modules: [{ module: moduleFile('copy-compare'), options }],
  });
  if (!scansAhead(compare.listing !== undefined, compare.rename))
    return [stage({ ...compare, scan })];
  const second = stage({ ...compare, scan: undefined });
  return [scanStage(scan), compare.dryRun ? second : { ...second, allocates: true }];
}
type CompareParts = Omit<CompareOptions, 'scan'>;

export function readStage(read: CopyReadOptions, instances: number): StageSpec {
  return {
    name: 'read',
    modules: [{ module: moduleFile('copy-read'), options: read }],
    instances,
    allocates: true,
    startWhen: 'first-buffer',
  };
}
export function writeStages(target: CopyTargetOptions, instances: number): StageSpec[] {
  return [
    {
      name: 'write',
      modules: [{ module: moduleFile('copy-write'), options: target }],
      instances,
      startWhen: 'first-buffer',
    },
    {
      name: 'finish',
      modules: [{ module: moduleFile('copy-finish'), options: target }],
      ...(target.syncs ? {} : { startWhen: 'first-buffer' }),
    },
  ];
}

/** The tail of a half that nothing comes to: a dry run's. */
export function discardStage(): StageSpec {
  return { name: 'discard', modules: [{ module: moduleFile('discard') }] };
}

/** A pipe of these stages; `allocating`: how many instances allocate. */
export function copyPipe(stages: readonly StageSpec[], allocating: number): PipeSpec {
  return {
    maxBuffers: buffersFor(allocating),
    payloadBytes: COPY_PAYLOAD_BYTES,
    stages,
  };
}

/** Buffers for so many allocating instances, or the least that they can work with. */
export function buffersFor(allocating: number, least = false): number {
  return Math.min(LIMITS.buffersMax, allocating * (least ? BUFFERS_LEAST : BUFFERS_EACH));
}
