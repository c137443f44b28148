/**
 * Puts the entries of a backup into order.
 *
 * The walk adds entries that are complete (directories, links, what is taken over) and files that
 * collectors must read first. Both go into batches; a batch's files travel as a plan to a collector
 * and come back as entries. Batches are taken in order into the manifest, whatever order they come
 * back in. What is out is bounded, so memory is too.
 */
import { assert, must } from '../base/assert.ts';
import { toDisplay } from '../base/bytes.ts';
import { type ErrorRecord, PenstockError, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { DECISION, ENTRY_FLAG, EntryView, EntryWriter, REASON } from '../format/entry.ts';
import type { ModuleContext, PipeBuffer } from '../pipe/mod.ts';
import { BUFFER_KIND } from './backup-buffers.ts';
import type { BlockPacker } from './block-packer.ts';
import { ContentAssembler } from './content-assembler.ts';
import type { ManifestBuilder } from './manifest-builder.ts';
import type { ResultReceiver } from './result-link.ts';
import { type BatchResult, PlanWriter, UNIT } from './unit.ts';

/** Literal entries, or a number of units whose entries belong here. */
type Part = Buffer | number;

interface Batch {
  readonly id: number;
  readonly kind: 'files' | 'region';
  readonly parts: readonly Part[];
  /** Of a region: the entry without content, and whether it is the file's first or last. */
  readonly entry?: Buffer;
  readonly first?: boolean;
  readonly last?: boolean;
  /** Paths of the units, for messages. */
  readonly paths: readonly string[];
  /** Those of units that have further links. */
  readonly linked: ReadonlySet<string>;
  /** Further links among the literal entries, and what they are links of. */
  readonly links: readonly HardLink[];
  result: BatchResult | undefined;
}

interface HardLink {
  readonly path: string;
  readonly to: string;
}

export interface OutputCallbacks {
  /** A problem of one item; `path` is absolute. */
  problem(path: string, error: ErrorRecord, omitted: boolean): void;
  /** All batches up to this one have been taken; directories used by them may be closed. */
  settled(batch: number): void;
}

export class WalkOutput {
  readonly #context: ModuleContext;
  readonly #results: ResultReceiver;
  readonly #manifest: ManifestBuilder;
  readonly #callbacks: OutputCallbacks;
  readonly #assembler: ContentAssembler;
  readonly #plan = new PlanWriter();
  readonly #literal = new EntryWriter();
  readonly #large = new EntryWriter();
  readonly #entry = new EntryView();
  readonly #queue: Batch[] = [];
  readonly #byId = new Map<number, Batch>();
  #planBuffer: PipeBuffer | undefined;
  #parts: Part[] = [];
  #paths: string[] = [];
  #linked = new Set<string>();
  #links: HardLink[] = [];
  /** Files that could not be read although other entries are links of them. */
  readonly #omitted = new Set<string>();
  #planBytes = 0;
  #next = 0;
  #largeClasses = 0;
  #largeReason = 0;
  #largeProblem: ErrorRecord | undefined;
  /** A region gave nothing: what follows it would come to stand at its place. */
  #largeOmitted = false;

  constructor(
    context: ModuleContext,
    results: ResultReceiver,
    manifest: ManifestBuilder,
    packer: BlockPacker,
    callbacks: OutputCallbacks,
  ) {
    this.#context = context;
    this.#results = results;
    this.#manifest = manifest;
    this.#callbacks = callbacks;
    this.#assembler = new ContentAssembler(packer);
  }

  /** The batch that is being filled. */
  get current(): number {
    return this.#next;
  }

  /** Where to write a complete entry. Call entryWritten afterwards. */
  get literal(): EntryWriter {
    return this.#literal;
  }
  entryWritten(): void {
    if (this.#literal.length > LIMITS.batchBytes / 16) this.endBatch();
  }

  /** As entryWritten, for a further link. */
  linkWritten(path: string, to: string): void {
    this.#links.push({ path, to });
    this.entryWritten();
  }
  /** Whether the first link of a file turned out to be unreadable: another one must take its place. */
  isOmitted(path: string): boolean {
    return this.#omitted.has(path);
  }

  /** A file to be read whole; `entry` has no content. */
  addFile(directory: number, entry: EntryView, path: string): void {
    const size = entry.size;
    if (
      this.#planBuffer !== undefined &&
      (!this.#plan.fits(entry.entryBytes) || this.#planBytes + size > LIMITS.batchBytes)
    ) {
      this.endBatch();
    }
    const buffer = this.#openPlan();
    this.#plan.add(UNIT.file, directory, 0, size, entry);
    buffer.length = this.#plan.length;
    this.#closeLiteral();
    const last = this.#parts.at(-1);
    if (typeof last === 'number') this.#parts[this.#parts.length - 1] = last + 1;
    else this.#parts.push(1);
    this.#paths.push(path);
    if (entry.links > 1) this.#linked.add(path);
    this.#planBytes += size;
    if (this.#plan.units >= LIMITS.batchFilesMax) this.endBatch();
  }

  /** One region of a large file; a batch of its own. */
  addRegion(
    directory: number,
    entry: EntryView,
    path: string,
    start: number,
    end: number,
    first: boolean,
    last: boolean,
  ): void {
    this.endBatch();
    const buffer = this.#openPlan();
    this.#plan.add(UNIT.region, directory, start, end, entry);
    buffer.length = this.#plan.length;
    this.#send({
      id: this.#next,
      kind: 'region',
      parts: [],
      entry: Buffer.from(entry.raw()),
      first,
      last,
      paths: [path],
      linked: this.#linked,
      links: [],
      result: undefined,
    });
  }

  #openPlan(): PipeBuffer {
    if (this.#planBuffer !== undefined) return this.#planBuffer;
    while (this.#queue.length >= LIMITS.batchesInFlightMax) this.#takeResults(true);
    let buffer = this.#context.tryAllocBuf();
    while (buffer === null && this.#outstanding > 0) {
      this.#takeResults(true);
      buffer = this.#context.tryAllocBuf();
    }
    buffer ??= this.#context.allocBuf();
    buffer.kind = BUFFER_KIND.plan;
    this.#plan.begin(buffer.memory, buffer.payloadOffset, buffer.payloadCapacity, this.#next);
    this.#planBuffer = buffer;
    return buffer;
  }
  #outstanding = 0;

  #closeLiteral(): void {
    if (this.#literal.length === 0) return;
    this.#parts.push(Buffer.from(this.#literal.bytes.subarray(0, this.#literal.length)));
    this.#literal.reset();
  }

  /** Closes the batch that is being filled, if there is anything in it. */
  endBatch(): void {
    this.#closeLiteral();
    if (this.#parts.length === 0) return;
    this.#send({
      id: this.#next,
      kind: 'files',
      parts: this.#parts,
      paths: this.#paths,
      linked: this.#linked,
      links: this.#links,
      result: undefined,
    });
  }
  #send(batch: Batch): void {
    this.#queue.push(batch);
    this.#next++;
    this.#parts = [];
    this.#paths = [];
    this.#linked = new Set();
    this.#links = [];
    this.#planBytes = 0;
    if (this.#planBuffer !== undefined) {
      this.#byId.set(batch.id, batch);
      this.#outstanding++;
      this.#context.sendBuf(this.#planBuffer);
      this.#planBuffer = undefined;
    } else batch.result = NO_RESULT;
    this.#takeResults(false);
  }

  #takeResults(wait: boolean): void {
    if (this.#outstanding > 0) {
      for (const result of this.#results.receive(wait)) {
        const batch = must(this.#byId.get(result.batch), 'a result belongs to a batch');
        this.#byId.delete(result.batch);
        this.#outstanding--;
        batch.result = result;
      }
    }
    for (;;) {
      const batch = this.#queue[0];
      if (batch?.result === undefined) return;
      this.#queue.shift();
      if (batch.kind === 'region') this.#takeRegion(batch, batch.result);
      else this.#takeFiles(batch, batch.result);
      this.#callbacks.settled(batch.id);
    }
  }

  /** Waits for one result; false if none is to come. */
  wait(): boolean {
    if (this.#outstanding === 0) return false;
    this.#takeResults(true);
    return true;
  }

  /** Waits until everything that was added is in the manifest. */
  drain(): void {
    this.endBatch();
    while (this.#queue.length > 0) this.#takeResults(true);
  }

  #takeFiles(batch: Batch, result: BatchResult): void {
    const bytes = Buffer.from(result.bytes);
    let at = 0;
    let unit = 0;
    for (const part of batch.parts) {
      if (typeof part !== 'number') {
        this.#manifest.addAll(part, 0, part.length);
        continue;
      }
      const from = at;
      for (let i = 0; i < part; i++) at += result.lengths[unit++] ?? 0;
      this.#manifest.addAll(bytes, from, at);
    }
    assert(at === bytes.length, 'every entry of a result has its place');
    for (const { unit, error, omitted } of result.problems) {
      const path = batch.paths[unit] ?? '';
      if (omitted && batch.linked.has(path)) this.#omitted.add(path);
      this.#callbacks.problem(path, error, omitted);
    }
    for (const { path, to } of batch.links) {
      if (this.#omitted.has(to)) this.#callbacks.problem(path, lostWith(path, to), true);
    }
  }

  #takeRegion(batch: Batch, result: BatchResult): void {
    if (batch.first === true) {
      this.#largeClasses = 0;
      this.#largeReason = REASON.none;
      this.#largeProblem = undefined;
      this.#largeOmitted = false;
    }
    this.#assembler.add(Buffer.from(result.bytes));
    this.#largeClasses |= result.classes;
    if (this.#largeReason === REASON.none) this.#largeReason = result.reason;
    for (const { error, omitted } of result.problems) {
      this.#largeOmitted ||= omitted;
      this.#largeProblem ??= error;
    }
    if (batch.last !== true) return;
    const problem = this.#largeProblem;
    const path = batch.paths[0] ?? '';
    if (problem !== undefined) this.#callbacks.problem(path, problem, this.#largeOmitted);
    const writer = this.#large;
    writer.reset();
    this.#entry.set(must(batch.entry, 'a region has its entry'), 0);
    writer.beginFrom(this.#entry);
    this.#assembler.finish(writer);
    if (this.#largeOmitted) {
      if (this.#entry.links > 1) this.#omitted.add(path);
      return;
    }
    this.#entry.eachExtra((type, value) => writer.extra(type, value));
    const mixed = (this.#largeClasses & (this.#largeClasses - 1)) !== 0;
    const sparse = (this.#entry.flags & ENTRY_FLAG.sparse) !== 0;
    const reason =
      this.#largeReason === REASON.none
        ? sparse
          ? REASON.holes
          : REASON.large
        : this.#largeReason;
    writer.setAnalysis(mixed ? DECISION.split : DECISION.cut, mixed ? REASON.mixed : reason);
    if (problem !== undefined) writer.setFlags(ENTRY_FLAG.incomplete | ENTRY_FLAG.recent);
    writer.end();
    this.#manifest.addAll(writer.bytes, 0, writer.length);
  }
}

function lostWith(path: string, to: string): ErrorRecord {
  const message = `is a link of ${toDisplay(to)}, which could not be read: ${toDisplay(path)}`;
  return toErrorRecord(new PenstockError('SOURCE_CHANGED', message, { subject: path }));
}

const NO_RESULT: BatchResult = {
  batch: -1,
  bytes: new ArrayBuffer(0),
  lengths: [],
  problems: [],
  classes: 0,
  reason: 0,
};
