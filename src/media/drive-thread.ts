/**
 * The thread of a drive: it takes parts of chunks from the threads of pipes and writes them to volumes,
 * one after the other, and reads them back. The main thread says which volumes (drive-link.ts).
 *
 * Contract: it ends with the link, or with the process. A volume is written by one process at a time.
 * Whoever calls gets an answer, also when the answer is that the drive has failed.
 */
import { writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { must } from '../base/assert.ts';
import { fromErrorRecord, PenstockError, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import { openClock } from '../host/mod.ts';
import { CALL, CallMemory } from '../pipe/call-memory.ts';
import { serveCalls } from '../pipe/call-server.ts';
import { answerOrder, orderAsked } from '../pipe/planned-reads.ts';
import type {
  DriveAsk,
  DriveMessage,
  DriveQuestion,
  DriveReport,
  DriveRequest,
  ReadableVolume,
  TapeMedium,
  Told,
  WritableVolume,
  WriteSession,
} from './drive-messages.ts';
import { DriveReading } from './drive-reading.ts';
import { DriveUsers, type DriveUsersData } from './drive-users.ts';
import { DriveWriting } from './drive-writing.ts';
import { MountDesk, type MountRequest, mountText } from './mount-requests.ts';
import { Media } from './open-medium.ts';
import { isVolumeError, refuseProtected, type Volume } from './volume.ts';
import { checkLabel, labelVolume } from './volume-label.ts';
import { newReadFigures } from './volume-reader.ts';
import { VolumeWriter, type WriterReport } from './volume-writer.ts';
import type { LoadedVolume, VolumeWriterOptions } from './volume-writer-options.ts';

/** What the thread is started with. */
export interface DriveThreadData {
  /** URL of this file, and where what was compiled is kept (pipe/event-worker.js). */
  readonly thread: string;
  readonly cacheFolder: string | undefined;
  readonly memory: SharedArrayBuffer;
  /** How long a tape is waited for that is not there; 0: not at all. */
  readonly mountWaitMs: number;
  readonly users?: DriveUsersData;
}

type DriveAnswer = Extract<DriveRequest, { type: 'told' }>;

class DriveThread {
  readonly #memory: CallMemory;
  readonly #post: (message: DriveMessage) => void;
  readonly #desk: MountDesk;
  readonly #media: Media;
  #writer: VolumeWriter | undefined;
  #writing: DriveWriting | undefined;
  #reading: DriveReading | undefined;
  /** Calls may come before it is known what there is to read. */
  readonly #readable: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Volumes that the session has written. */
  readonly #loaded: Volume[] = [];
  /** Where tapes are asked for. */
  #tape: TapeMedium | undefined;
  /** What was asked of the main thread. */
  readonly #asked = new Map<number, (answer: DriveAnswer) => void>();
  #asks = 0;

  constructor(
    memory: CallMemory,
    post: (message: DriveMessage) => void,
    { mountWaitMs, users }: Pick<DriveThreadData, 'mountWaitMs' | 'users'>,
  ) {
    this.#memory = memory;
    this.#post = post;
    this.#desk = new MountDesk(mountWaitMs, (request) => void this.#tellMount(request));
    this.#media = new Media({
      desk: this.#desk,
      users: users && new DriveUsers(users),
      onPassedOver: (error) => this.#tellPassedOver(error),
    });
    memory.setWritesMax(memory.slots - LIMITS.driveSlotsLeast);
  }

  /** Takes calls until the end. */
  async run(): Promise<void> {
    await serveCalls(this.#memory, (slot, call) => this.#call(slot, call));
  }

  async request(request: DriveRequest): Promise<void> {
    if (request.type === 'told') this.#asked.get(request.ask)?.(request);
    else if (request.type === 'mounts') {
      if (request.are === 'never') this.#desk.stop();
      this.#desk.isHeld = request.are === 'held';
    } else if (request.type === 'close') await this.#close();
    else {
      const { id } = request;
      try {
        const report = await this.#answer(request);
        this.#post({ type: 'answer', id, ...(report === undefined ? {} : { report }) });
      } catch (error) {
        if (request.type === 'write' || request.type === 'finish') await this.#letGo();
        this.#post({ type: 'answer', id, error: toErrorRecord(error) });
      }
    }
  }

  async #answer(question: DriveQuestion): Promise<DriveReport | undefined> {
    if (question.type === 'finish') return await this.#finish();
    if (question.type === 'release') await this.#letGo();
    else if (question.type === 'write') await this.#begin(question.session, question.volumes);
    else if (question.type === 'read') await this.#readFrom(question.volumes);
    else if (question.type === 'end-stream') await this.#writing?.endStream(question.stream);
    else if (question.type === 'open-stream') await this.#theWriting().openStream(question.stream);
    else if (question.type === 'discard') this.#theWriting().discard(question.chunk);
    else if (question.type === 'part') await this.#part(question);
    else if (question.type === 'put') await this.#theWriting().put(question.chunk, question.parts);
    return undefined;
  }

  async #part({ chunk, position, bytes }: Extract<DriveQuestion, { type: 'part' }>): Promise<void> {
    const part = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    await this.#theWriting().write(chunk, position, part);
  }

  #theWriting(): DriveWriting {
    if (this.#writing !== undefined) return this.#writing;
    throw new PenstockError('VOLUME_IO', 'the drive is not writing');
  }

  async #begin(session: WriteSession, volumes: readonly WritableVolume[]): Promise<void> {
    const { tape, ...writing } = session;
    this.#tape = tape;
    this.#writer = await this.#open(volumes, {
      ...writing,
      buffers: this.#memory.spares(),
      onCommitted: (chunk) => {
        this.#writing?.committed(chunk);
        this.#post({ type: 'committed', chunk });
      },
      nextVolume: async ({ volume }) => {
        // What is there is on record before others may write to it.
        const volumes = await this.#next(volume);
        await this.#loaded.pop()?.close();
        return await this.#loadOne(volumes, volume);
      },
    });
    this.#writing = new DriveWriting(this.#writer, (sink) => this.#memory.setDurable(sink));
  }

  /** On the first volume that is there and whose end is where it should be. */
  async #open(
    volumes: readonly WritableVolume[],
    options: VolumeWriterOptions,
    full?: string,
  ): Promise<VolumeWriter> {
    const loaded = await this.#loadOne(volumes, full);
    try {
      return await VolumeWriter.open(loaded, options);
    } catch (error) {
      if (!isVolumeError(error, 'VOLUME_DAMAGED')) throw error;
      this.#tellPassedOver(error);
      await this.#loaded.pop()?.close();
      const { volume } = loaded.label;
      return await this.#open(await this.#next(volume), options, volume);
    }
  }

  /** Volumes to go on with; nothing is written to that one any more. */
  async #next(full: string): Promise<readonly WritableVolume[]> {
    this.#media.tryAgain();
    return (await this.#ask({ about: 'next', full })) as readonly WritableVolume[];
  }

  async #ask(about: DriveAsk): Promise<Told> {
    const ask = this.#asks++;
    this.#post({ type: 'ask', ask, ...about });
    const { told, error } = await new Promise<DriveAnswer>((resolve) =>
      this.#asked.set(ask, resolve),
    );
    this.#asked.delete(ask);
    if (error !== undefined) throw fromErrorRecord(error);
    return must(told, 'an answer');
  }

  /**
   * The first of the volumes that can be written; where none can, somebody is asked for one.
   *
   * @param full the volume that was written before
   */
  async #loadOne(
    volumes: readonly WritableVolume[],
    full: string | undefined,
  ): Promise<LoadedVolume> {
    const tape = this.#tape;
    for (let offered = volumes; ; ) {
      try {
        return await this.#loadFirst(offered);
      } catch (error) {
        await this.#media.closeFree();
        const isNone = error instanceof PenstockError && NONE_CAN_BE_WRITTEN.has(error.code);
        if (!isNone || tape === undefined) throw error;
        if (!(await this.#askForOne(offered, tape)))
          throw new PenstockError(error.code, error.message, { cause: error, hint: BRING_A_TAPE });
        offered = (await this.#ask({ about: 'next', full })) as readonly WritableVolume[];
      }
    }
  }

  /** Has somebody bring a tape on which can be written. */
  async #askForOne(offered: readonly WritableVolume[], tape: TapeMedium): Promise<boolean> {
    const known = offered.filter(({ newLabel }) => newLabel === undefined);
    const blank = tape.changer !== undefined || known.length < offered.length;
    return await this.#media.askFor(tape, { tapes: known.map(({ label }) => label.name), blank });
  }

  async #tellMount(request: MountRequest): Promise<void> {
    const told = this.#ask({ about: 'mount', request, askedMs: openClock().nowMs() });
    const late = pause(2 * LIMITS.mountTellMs, false, { ref: false });
    // Whoever reads in the main thread cannot be told anything there meanwhile.
    if ((await Promise.race([told, late])) !== true)
      writeSync(STANDARD_ERROR, `${mountText(request)}\n`);
  }

  /** The first of the volumes that is there and can be written. POOL_EXHAUSTED with the reasons. */
  async #loadFirst(volumes: readonly WritableVolume[]): Promise<LoadedVolume> {
    const reasons: string[] = [];
    const failures: PenstockError[] = [];
    for (const one of volumes) {
      const refused = (error: unknown): undefined => {
        if (!(error instanceof PenstockError) || !this.#mayGoOn(error, one)) throw error;
        failures.push(error);
        reasons.push(`${one.label.name}: ${error.message}`);
      };
      const known = one.newLabel === undefined ? one.label.volume : undefined;
      const candidates = this.#media.candidates(one.medium, 'create', known);
      // In each of several drives there may be a blank tape.
      for (;;) {
        const next = await candidates.next().catch(refused);
        if (next === undefined || next.done === true) break;
        const loaded = await this.#load(next.value, one).catch(refused);
        if (loaded === undefined) continue;
        await this.#media.closeFree();
        return loaded;
      }
    }
    if (failures.length === 1) throw failures[0];
    const none = volumes.length === 0 ? ['none has room, and there is no name or tape left'] : [];
    const text = ['no volume can be written', ...none, ...reasons].join('; ');
    throw new PenstockError('POOL_EXHAUSTED', text);
  }

  /** Whether another volume, or drive, is tried after this error. */
  #mayGoOn(error: PenstockError, { medium, label, newLabel }: WritableVolume): boolean {
    if (error.code === 'VOLUME_PROTECTED' && newLabel === undefined)
      this.#post({ type: 'protected', volume: label.volume });
    const isOneOfSeveral = medium.kind === 'tape' && medium.drives.length > 1;
    if (error.code !== 'VOLUME_IO' || !isOneOfSeveral) return OF_ONE_VOLUME.has(error.code);
    this.#tellPassedOver(error);
    return true;
  }

  async #load(volume: Volume, one: WritableVolume): Promise<LoadedVolume> {
    const replaced = await this.#labels(volume, one);
    const loaded = { type: 'loaded', volume: one.label.volume } as const;
    this.#post(replaced === undefined ? loaded : { ...loaded, replaced });
    const { label, leastObjects = 0 } = one;
    return { volume, label, leastObjects };
  }

  /** Looks at the label, or writes it; returns which volume of ours was overwritten. */
  async #labels(volume: Volume, { label, newLabel }: WritableVolume): Promise<string | undefined> {
    try {
      if (newLabel === undefined) await checkLabel(volume, label);
      await refuseProtected(volume);
      const replaced =
        newLabel === undefined
          ? undefined
          : await labelVolume(volume, label, {
              encode: () => Buffer.from(newLabel),
              mayReplace: (found, isEmpty) => this.#mayReplace(label, found, isEmpty),
            });
      this.#loaded.push(volume);
      return replaced?.volume;
    } catch (error) {
      await volume.close();
      throw error;
    }
  }

  #tellPassedOver(error: unknown): void {
    this.#post({ type: 'passed-over', error: toErrorRecord(error) });
  }

  async #mayReplace(label: VolumeLabel, found: VolumeLabel, isEmpty: boolean): Promise<boolean> {
    if (found.repository !== label.repository || found.pool !== label.pool) return false;
    return (await this.#ask({ about: 'replace', volume: found.volume, isEmpty })) === true;
  }

  async #readFrom(volumes: readonly ReadableVolume[]): Promise<void> {
    await this.#reading?.close();
    this.#media.tryAgain();
    this.#reading = new DriveReading(volumes, (one) => this.#openToRead(one), {
      onPassedOver: (error) => this.#tellPassedOver(error),
    });
    this.#readable.resolve();
  }

  async #openToRead({ medium, volume }: ReadableVolume): Promise<Volume> {
    try {
      return await this.#media.open(medium, 'read', volume);
    } finally {
      await this.#media.closeFree();
    }
  }

  async #toRead(): Promise<DriveReading> {
    await this.#readable.promise;
    return must(this.#reading, 'volumes that are read');
  }

  async #finish(): Promise<DriveReport> {
    await this.#writing?.end();
    const report = await this.#writer?.close();
    const written = report === undefined ? [] : await Promise.all(report.volumes.map(toWritten));
    await this.#reading?.close();
    await this.#media.closeFree();
    const reading = this.#reading?.figures ?? newReadFigures();
    return { written, streaming: report?.figures, reading };
  }

  /** Others may write to the volumes. */
  async #letGo(): Promise<void> {
    for (const volume of this.#loaded.splice(0)) await volume.close().catch(() => undefined);
    await this.#media.closeFree();
    this.#writer = undefined;
    this.#writing = undefined;
  }

  async #close(): Promise<void> {
    this.#desk.stop();
    await this.#writer?.abort();
    await this.#reading?.close();
    await this.#letGo();
    await this.#media.close();
    this.#memory.end();
    this.#memory.ring();
  }

  async #call(slot: number, call: number): Promise<number> {
    const memory = this.#memory;
    const chunk = memory.chunk(slot);
    const at = memory.dataAt(slot);
    if (call === CALL.open) return (await this.#toRead()).bytesOf(chunk);
    if (call === CALL.read) {
      const into = memory.bytes.subarray(at, at + memory.length(slot));
      const reading = await this.#toRead();
      return await reading.read(chunk, memory.position(slot), into);
    }
    if (call === CALL.order) {
      const order = await (await this.#toRead()).nextReads(orderAsked(memory, slot));
      return answerOrder(memory, slot, order);
    }
    const writing = this.#theWriting();
    const sink = memory.sink(slot);
    if (call === CALL.write) {
      const bytes = memory.bytes.subarray(at, at + memory.length(slot));
      const exchange = (empty: Buffer): Buffer => memory.exchange(slot, empty);
      await writing.write(chunk, memory.position(slot), bytes, sink, exchange);
    } else if (call === CALL.discard) writing.discard(chunk);
    else if (!memory.isDurable(sink)) await writing.commit(chunk);
    return 0;
  }
}

/** Errors for which another volume is tried. */
const OF_ONE_VOLUME: ReadonlySet<string> = new Set([
  'VOLUME_FOREIGN',
  'VOLUME_NOT_READY',
  'VOLUME_PROTECTED',
  'LIBRARY_MISSING',
]);
const NONE_CAN_BE_WRITTEN: ReadonlySet<string> = new Set([...OF_ONE_VOLUME, 'POOL_EXHAUSTED']);
const BRING_A_TAPE =
  'put a blank tape, or one with room, into the drive or library, and run the command again; ' +
  '--mount-wait has it wait for one';
const STANDARD_ERROR = 2;

async function toWritten({
  label,
  entry,
  log,
  isFull,
}: WriterReport['volumes'][number]): Promise<DriveReport['written'][number]> {
  await log.finish();
  const pages: Uint8Array[] = [];
  for (let i = 0; i < log.pages.count; i++) pages.push(await log.pages.read(i));
  return {
    volume: label.volume,
    objects: entry?.endObject ?? 0,
    bytes: entry?.bytes ?? 0,
    entry,
    pages,
    isFull,
  };
}

const port = must(parentPort, 'a drive runs in a thread of its own');
const data = workerData as DriveThreadData;
const post = (message: DriveMessage): void => port.postMessage(message);
const drive = new DriveThread(new CallMemory(data.memory), post, data);
port.on('message', (request: DriveRequest) => {
  void drive.request(request).then(() => {
    if (request.type === 'close') port.close();
  });
});
await drive.run();
