/**
 * The modules of one stage instance, run one after the other in one thread (P7).
 *
 * Contract: what a module sends goes to the next module of its stage, from the last one to the stage's
 * primitives; so a module does not know whether it is fused with others. Only the first module receives.
 */

import type { MessagePort, Transferable } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import type { PipeBuffer } from './buffer.ts';
import { COUNTERS, INSTANCE, instanceAt } from './layout.ts';
import type { ModuleContext, PipeModule } from './module.ts';
import type { Primitives } from './primitives.ts';
import type { Segment } from './segment.ts';

/** What the thread lends to the contexts of its modules. */
export interface Surroundings {
  readonly instance: number;
  readonly ports: Readonly<Record<string, MessagePort>>;
  readonly workerData: unknown;
  post(message: unknown, transfer?: readonly Transferable[]): void;
  warn(record: unknown): void;
  stopPipe(reason: string): void;
}

export class Chain {
  readonly #primitives: Primitives;
  readonly #modules: readonly PipeModule[];
  readonly contexts: readonly ModuleContext[];

  constructor(
    primitives: Primitives,
    modules: readonly PipeModule[],
    options: readonly unknown[],
    around: Surroundings,
  ) {
    this.#primitives = primitives;
    this.#modules = modules;
    this.contexts = modules.map((_, i) => new Context(this, primitives, i, options[i], around));
  }

  /** Runs the stage until its input has ended. */
  run(): void {
    const first = this.#modules[0];
    const context = this.contexts[0];
    assert(first !== undefined && context !== undefined, 'a stage has a module');
    if (first.run !== undefined) first.run(context);
    else if (this.#primitives.receives) this.#receive();
    else this.#fill(first);
    if (this.#primitives.receives) this.#discard();
  }

  /** Whether the first module runs beside an event loop. */
  get loops(): boolean {
    return this.#modules[0]?.runAsync !== undefined;
  }

  /** As `run`, for such a module. */
  async runAsync(): Promise<void> {
    const context = this.contexts[0];
    assert(context !== undefined, 'a stage has a module');
    await this.#modules[0]?.runAsync?.(context);
    const primitives = this.#primitives;
    while (primitives.receives && !primitives.drained) {
      const buffer = await primitives.receiveBufLater();
      if (buffer !== null) primitives.freeBuf(buffer);
    }
  }

  #fill(head: PipeModule): void {
    assert(head.fill !== undefined, 'the first module of a head has fill or run');
    for (let more = true; more; ) {
      const buffer = this.#primitives.allocBuf();
      more = head.fill(buffer);
      this.pass(1, buffer);
    }
  }

  #receive(): void {
    const primitives = this.#primitives;
    for (let buffer = primitives.receiveBuf(); buffer !== null; buffer = primitives.receiveBuf()) {
      this.pass(0, buffer);
    }
  }

  /** Frees what a module that returned early did not want. */
  #discard(): void {
    const primitives = this.#primitives;
    while (!primitives.drained) {
      const buffer = primitives.receiveBuf();
      if (buffer !== null) primitives.freeBuf(buffer);
    }
  }

  /** Has the modules from number `from` on process a buffer, and hands on what comes out. */
  pass(from: number, buffer: PipeBuffer, stage?: string): void {
    const modules = this.#modules;
    let current = buffer;
    for (let i = from; i < modules.length; i++) {
      const module = modules[i] as PipeModule;
      assert(module.process !== undefined, 'a module that receives has process or run');
      const result = module.process(current);
      if (result === null) return;
      if (result !== undefined) current = result;
    }
    const { role } = this.#primitives;
    if (role === 'tail' || role === 'whole') this.#primitives.freeBuf(current);
    else this.#primitives.sendBuf(current, stage);
  }

  get length(): number {
    return this.#modules.length;
  }
}

class Context implements ModuleContext {
  readonly pipe: string;
  readonly stage: string;
  readonly instance: number;
  readonly instances: number;
  readonly options: unknown;
  readonly segment: Segment;
  readonly window: Buffer;
  readonly sharedWords: Int32Array;
  readonly share: number;
  readonly ports: Readonly<Record<string, MessagePort>>;
  readonly workerData: unknown;
  readonly #chain: Chain;
  readonly #primitives: Primitives;
  readonly #position: number;
  readonly #around: Surroundings;
  readonly #counters: number;

  constructor(
    chain: Chain,
    primitives: Primitives,
    position: number,
    options: unknown,
    around: Surroundings,
  ) {
    const { segment } = primitives;
    const stage = segment.topology.stageOf[around.instance] as number;
    this.pipe = segment.config.name;
    this.stage = segment.config.stages[stage]?.name ?? '';
    this.instance = around.instance - (segment.topology.firstInstance[stage] ?? 0);
    this.instances = segment.config.stages[stage]?.instances ?? 0;
    this.options = options;
    this.segment = segment;
    this.window = segment.windowOf(around.instance);
    this.sharedWords = segment.sharedWords;
    this.share = primitives.share;
    this.ports = around.ports;
    this.workerData = around.workerData;
    this.#chain = chain;
    this.#primitives = primitives;
    this.#position = position;
    this.#around = around;
    this.#counters = (instanceAt(segment.layout, around.instance) + INSTANCE.counters) / 2;
  }

  allocBuf(): PipeBuffer {
    return this.#primitives.allocBuf();
  }

  allocBufLater(): Promise<PipeBuffer> {
    return this.#primitives.allocBufLater();
  }

  receiveBufLater(): Promise<PipeBuffer | null> {
    assert(this.#position === 0, 'only the first module of a stage receives');
    return this.#primitives.receiveBufLater();
  }

  tryAllocBuf(): PipeBuffer | null {
    return this.#primitives.tryAllocBuf();
  }

  receiveBuf(): PipeBuffer | null {
    assert(this.#position === 0, 'only the first module of a stage receives');
    return this.#primitives.receiveBuf();
  }

  sendBuf(buffer: PipeBuffer, stage?: string): void {
    const next = this.#position + 1;
    if (next < this.#chain.length) this.#chain.pass(next, buffer, stage);
    else this.#primitives.sendBuf(buffer, stage);
  }

  freeBuf(buffer: PipeBuffer): void {
    this.#primitives.freeBuf(buffer);
  }

  inherit(target: PipeBuffer, source: PipeBuffer, last = true): void {
    this.#primitives.inherit(target, source, last);
  }

  get carriedMax(): number {
    return this.#primitives.carriedMax;
  }

  carry(buffer: PipeBuffer, sequence: number): void {
    this.#primitives.carry(buffer, sequence);
  }

  passed(about: number): number {
    return this.#primitives.passed(about);
  }

  passedLater(seen: number): Promise<number> {
    return this.#primitives.passedLater(seen);
  }

  sequenceNext(stage: string): number {
    return this.#primitives.sequenceNext(stage);
  }

  notice(): void {
    this.#primitives.waiting.notice();
  }

  whileShared(index: number, value: number): void {
    this.#primitives.waiting.whileShared(index, value);
  }

  notifyShared(): void {
    this.#primitives.waiting.notifyShared();
  }

  progress(counter: number, by: number): void {
    assert(counter >= 0 && counter < COUNTERS, 'an instance has 16 counters');
    const { floats } = this.segment;
    // One writer: a plain addition does.
    floats[this.#counters + counter] = (floats[this.#counters + counter] as number) + by;
  }

  post(message: unknown, transfer?: readonly Transferable[]): void {
    this.#around.post(message, transfer);
  }

  warn(record: unknown): void {
    this.#around.warn(record);
  }

  stopPipe(reason: string): void {
    this.#around.stopPipe(reason);
  }
}
