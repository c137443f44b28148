/**
 * The four primitives (P3) of one instance, with roles, shares and order.
 *
 * Contract: a call that the stage's role forbids, or with a buffer that the instance does not own, is an
 * assertion. Ownership is one word, exchanged at every hand-over, so no buffer ever has two owners.
 * Every wait notices stops and control messages (waiting.ts). Nothing is allocated per buffer.
 *
 * Inside a section (topology.ts) an instance finishes with what it received before it receives again
 * and allocates at most `partsMax` buffers in between: the proof of the window needs it. A buffer
 * that takes the place of a received one inherits its number; one that is freed passes as a tombstone.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { PipeBuffer } from './buffer.ts';
import {
  ALLOCATOR_BITS,
  ALLOCATOR_MASK,
  BUFFER_FLAG,
  DESCRIPTOR,
  descriptorAt,
  ownerInQueue,
  ownerInstance,
  queueSemaphoreAt,
  RESEQUENCER,
  STAGE,
  shareAt,
  stageAt,
  USER_WORDS,
} from './layout.ts';
import { FreePool, type Ring } from './queue.ts';
import { type Route, routesOf, sectionRoute } from './route.ts';
import { closeInstances, type Segment } from './segment.ts';
import { Semaphore } from './semaphore.ts';
import { type Resequencer, Sequencer } from './sequencer.ts';
import type { Role, StageConfig } from './topology.ts';
import { type InstanceHooks, STATE, Waiting } from './waiting.ts';

/** The number closest to `about` whose lowest 32 bits are those of `low`. */
function closest(about: number, low: number): number {
  return about + ((low - (about | 0)) | 0);
}

export class Primitives {
  readonly segment: Segment;
  readonly waiting: Waiting;
  readonly role: Role;
  readonly #words: Int32Array;
  readonly #hooks: InstanceHooks;
  readonly #stage: number;
  readonly #config: StageConfig;
  readonly #me: number;
  readonly #instance: number;
  readonly #buffers: readonly PipeBuffer[];
  readonly #pool: FreePool;
  readonly #poolReady: Semaphore;
  readonly #shares: readonly Semaphore[];
  readonly #share: Semaphore | null;
  readonly #input: Ring;
  readonly #inputReady: Semaphore;
  readonly #producers: number;
  readonly #routes: readonly Route[];
  /** The way out of the section whose buffers this stage receives. */
  readonly #section: Route | null;
  /** Buffers owned, and allocated since the last one was received. */
  #owned = 0;
  #allocated = 0;
  #drained = false;

  constructor(segment: Segment, instance: number, hooks: InstanceHooks) {
    const { layout, topology, words, config } = segment;
    const stage = topology.stageOf[instance] as number;
    const allocator = topology.allocatorOf[instance] as number;
    this.segment = segment;
    this.waiting = new Waiting(segment, instance, hooks);
    this.role = topology.roles[stage] as Role;
    this.#words = words;
    this.#hooks = hooks;
    this.#stage = stage;
    this.#config = config.stages[stage] as StageConfig;
    this.#me = ownerInstance(instance);
    this.#instance = instance;
    this.#buffers = Array.from({ length: config.maxBuffers }, (_, i) => new PipeBuffer(segment, i));
    this.#pool = new FreePool(words, layout.freePool, config.maxBuffers);
    this.#poolReady = new Semaphore(words, queueSemaphoreAt(layout, 0));
    this.#shares = topology.allocatorOf.map(
      (index) => new Semaphore(words, shareAt(layout, Math.max(index, 0))),
    );
    this.#share = allocator < 0 ? null : (this.#shares[instance] as Semaphore);
    this.#input = segment.ring(stage);
    this.#inputReady = new Semaphore(words, queueSemaphoreAt(layout, stage));
    this.#producers = stageAt(layout, stage) + STAGE.producers;
    this.#routes = routesOf(segment, stage);
    this.#section = sectionRoute(segment, stage);
  }

  /** Whether the end of the input has been reached. */
  get drained(): boolean {
    return this.#drained;
  }

  /** Whether any stage sends to this one. */
  get receives(): boolean {
    return this.role === 'middle' || this.role === 'tail';
  }

  /** Buffers that this instance may hold of those that it allocates. */
  get share(): number {
    return this.#share === null ? 0 : this.segment.topology.share;
  }

  /** A free buffer, waiting for one within the share. Throws LIMIT where the stage fails over its share. */
  allocBuf(): PipeBuffer {
    const share = this.#mayAllocate();
    if (this.#config.overShareFails) {
      this.waiting.notice();
      if (!share.tryAcquire()) {
        throw new PenstockError(
          'LIMIT',
          `stage ${this.#config.name} is over its share of ${this.share}`,
        );
      }
    } else this.waiting.acquire(share, STATE.waitingShare);
    // Never long: the shares add up to no more than all buffers.
    this.waiting.acquire(this.#poolReady, STATE.waitingPool);
    return this.#take();
  }

  /** As `allocBuf`, while the event loop goes on. */
  async allocBufLater(): Promise<PipeBuffer> {
    const share = this.#mayAllocate();
    assert(!this.#config.overShareFails, 'who fails over the share does not wait for it');
    await this.waiting.acquireLater(share, STATE.waitingShare);
    await this.waiting.acquireLater(this.#poolReady, STATE.waitingPool);
    return this.#take();
  }

  /** A free buffer within the share, or null if there is none now. */
  tryAllocBuf(): PipeBuffer | null {
    const share = this.#mayAllocate();
    this.waiting.notice();
    if (!share.tryAcquire()) return null;
    if (this.#poolReady.tryAcquire()) return this.#take();
    share.release();
    return null;
  }

  #mayAllocate(): Semaphore {
    const share = this.#share;
    assert(share !== null, `stage ${this.#config.name} declares that it allocates`);
    assert(
      !this.receives ||
        this.#section === null ||
        this.#drained ||
        this.#allocated < this.#config.partsMax,
      `stage ${this.#config.name} makes at most partsMax buffers of one while order is kept`,
    );
    return share;
  }

  #take(): PipeBuffer {
    const words = this.#words;
    let index = this.#pool.pop();
    while (index < 0) index = this.#pool.pop();
    // Before it has an owner: who looks on never sees one with the allocator of its last life.
    const at = descriptorAt(this.segment.layout, index);
    const times = (words[at + DESCRIPTOR.allocation] as number) >> ALLOCATOR_BITS;
    words[at + DESCRIPTOR.allocation] = ((times + 1) << ALLOCATOR_BITS) | this.#instance;
    words.fill(0, at + DESCRIPTOR.length, at + DESCRIPTOR.user + USER_WORDS);
    this.#own(index, ownerInQueue(0));
    if (!this.receives) this.waiting.received();
    this.#allocated++;
    return this.#buffers[index] as PipeBuffer;
  }

  /** The next buffer, waiting for it; null once all that may send have closed and none is left. */
  receiveBuf(): PipeBuffer | null {
    this.#mayReceive();
    this.waiting.asks();
    if (!this.waiting.acquire(this.#inputReady, STATE.waitingInput, this.#producers)) {
      this.#drained = true;
      return null;
    }
    return this.#received();
  }

  /** As `receiveBuf`, while the event loop goes on. One call at a time. */
  async receiveBufLater(): Promise<PipeBuffer | null> {
    this.#mayReceive();
    this.waiting.asks();
    const { waiting } = this;
    if (!(await waiting.acquireLater(this.#inputReady, STATE.waitingInput, this.#producers))) {
      this.#drained = true;
      return null;
    }
    return this.#received();
  }

  #mayReceive(): void {
    assert(this.receives, `stage ${this.#config.name} is a head: it never receives`);
    assert(
      this.#section === null || this.#owned === 0,
      `stage ${this.#config.name} finishes a buffer before it receives the next while order is kept`,
    );
  }

  #received(): PipeBuffer {
    const index = this.#input.pop();
    assert(index >= 0, 'the semaphore of a queue counts what it holds');
    this.#own(index, ownerInQueue(this.#stage));
    this.waiting.received();
    this.#allocated = 0;
    return this.#buffers[index] as PipeBuffer;
  }

  /** Hands a buffer to the next stage, or to the named one of several. */
  sendBuf(buffer: PipeBuffer, stage?: string): void {
    const route = this.#routeTo(stage);
    this.waiting.notice();
    const words = this.#words;
    const at = descriptorAt(this.segment.layout, buffer.index);
    assert(words[at + DESCRIPTOR.owner] === this.#me, 'an instance sends what it owns');
    this.#number(route, at);
    this.#disown(at, ownerInQueue(route.stage));
    if (route.resequencer === null) {
      route.queue.push(buffer.index);
      route.ready.release();
    } else {
      const flags = words[at + DESCRIPTOR.flags] as number;
      words[at + DESCRIPTOR.flags] = 0;
      route.resequencer.deliver(
        words[at + DESCRIPTOR.sequenceLow] as number,
        words[at + DESCRIPTOR.part] as number,
        (flags & BUFFER_FLAG.last) !== 0,
        buffer.index,
      );
    }
    if (route.lazyInstances > 0) this.#startMore(route);
  }

  #routeTo(stage: string | undefined): Route {
    const routes = this.#routes;
    assert(routes.length > 0, `stage ${this.#config.name} is a tail: it never sends`);
    if (stage === undefined) return routes[0] as Route;
    for (const route of routes) if (route.name === stage) return route;
    assert(false, `stage ${this.#config.name} may send to stage ${stage}`);
  }

  /** Puts a buffer back into the free pool, and its place into the share of its allocator. */
  freeBuf(buffer: PipeBuffer): void {
    assert(
      this.role !== 'head',
      `stage ${this.#config.name} is a head: it sends what it allocates`,
    );
    this.waiting.notice();
    const words = this.#words;
    const at = descriptorAt(this.segment.layout, buffer.index);
    const allocator = (words[at + DESCRIPTOR.allocation] as number) & ALLOCATOR_MASK;
    this.#disown(at, ownerInQueue(0));
    if (((words[at + DESCRIPTOR.flags] as number) & BUFFER_FLAG.numbered) !== 0) this.#skip(at);
    // The pool first: who holds a share finds a free buffer at once.
    this.#pool.push(buffer.index);
    this.#poolReady.release();
    (this.#shares[allocator] as Semaphore).release();
  }

  /**
   * Lets `target` take the place of `source` in the order of the pipe, as one of several parts unless it
   * is the `last`. Without a section around it does nothing. After the last part `source` bears no
   * number; before, it may itself be sent as the last part.
   */
  inherit(target: PipeBuffer, source: PipeBuffer, last = true): void {
    const words = this.#words;
    const to = descriptorAt(this.segment.layout, target.index);
    const from = descriptorAt(this.segment.layout, source.index);
    assert(
      words[to + DESCRIPTOR.owner] === this.#me && words[from + DESCRIPTOR.owner] === this.#me,
      'an instance owns both buffers',
    );
    const flags = words[from + DESCRIPTOR.flags] as number;
    if ((flags & BUFFER_FLAG.numbered) === 0) return;
    const part = words[from + DESCRIPTOR.part] as number;
    const split = (flags & BUFFER_FLAG.piece) === 0 && (part > 0 || !last);
    assert(last || split, 'a part is not divided again: put a stage of one instance between');
    this.#checkPart(part, split);
    words[to + DESCRIPTOR.sequenceLow] = words[from + DESCRIPTOR.sequenceLow] as number;
    words[to + DESCRIPTOR.sequenceHigh] = words[from + DESCRIPTOR.sequenceHigh] as number;
    words[to + DESCRIPTOR.part] = part;
    words[to + DESCRIPTOR.flags] =
      (last ? flags : flags & ~BUFFER_FLAG.last) | (split ? BUFFER_FLAG.piece : 0);
    words[from + DESCRIPTOR.part] = part + 1;
    if (last) words[from + DESCRIPTOR.flags] = 0;
  }

  /** Gives a buffer of a head the number that it bears from elsewhere. */
  carry(buffer: PipeBuffer, sequence: number): void {
    assert(this.#config.carries === true, `stage ${this.#config.name} declares that it carries`);
    const words = this.#words;
    const at = descriptorAt(this.segment.layout, buffer.index);
    assert(words[at + DESCRIPTOR.owner] === this.#me, 'an instance numbers what it owns');
    buffer.sequence = sequence;
    if (this.#section === null) return;
    const ahead = sequence - this.passed(sequence);
    assert(ahead > 0 && ahead <= this.carriedMax, 'a carried number is within the window');
    words[at + DESCRIPTOR.part] = 0;
    words[at + DESCRIPTOR.flags] = BUFFER_FLAG.numbered | BUFFER_FLAG.last;
  }

  /** How far a carried number may be ahead of those that have passed; Infinity without order. */
  get carriedMax(): number {
    const { sections, sectionOf } = this.segment.topology;
    return sections[sectionOf[this.#stage] ?? -1]?.window ?? Number.POSITIVE_INFINITY;
  }

  /** How many carried numbers have passed the resequencer: of 53 bits, the count closest to `about`. */
  passed(about: number): number {
    const at = this.#passedWord;
    return at < 0 ? 0 : closest(about, Atomics.load(this.#words, at) - 1);
  }

  /** Resolves with that count once it is no longer `seen`; never without order. */
  async passedLater(seen: number): Promise<number> {
    const at = this.#passedWord;
    assert(at >= 0, `the numbers of stage ${this.#config.name} pass a resequencer`);
    const window = (this.#section as Route).window as Semaphore;
    return closest(seen, (await this.waiting.changedLater(window, at, (seen + 1) | 0)) - 1);
  }

  get #passedWord(): number {
    const at = this.segment.layout.resequencers[this.segment.topology.sectionOf[this.#stage] ?? -1];
    return at === undefined ? -1 : at + RESEQUENCER.next;
  }

  /** Takes the next number of a stage by hand. */
  sequenceNext(stage: string): number {
    const index = this.segment.config.stages.findIndex((config) => config.name === stage);
    assert(index >= 0, `the pipe has a stage ${stage}`);
    const sequencer = new Sequencer(this.#words, stageAt(this.segment.layout, index));
    sequencer.next();
    return sequencer.high * 2 ** 32 + (sequencer.low >>> 0);
  }

  /** The instance sends nothing more. It must have sent or freed all that it owned. */
  close(): void {
    assert(
      this.#owned === 0,
      `stage ${this.#config.name} keeps no buffer: it holds ${this.#owned}`,
    );
    closeInstances(this.segment, this.#stage, 1);
  }

  /** Stamps a buffer where it enters a section or a numbered stage. */
  #number(route: Route, at: number): void {
    const words = this.#words;
    const flags = words[at + DESCRIPTOR.flags] as number;
    if ((flags & BUFFER_FLAG.numbered) !== 0) {
      const part = words[at + DESCRIPTOR.part] as number;
      const split = (flags & BUFFER_FLAG.piece) === 0 && part > 0;
      this.#checkPart(part, split);
      if (split) words[at + DESCRIPTOR.flags] = flags | BUFFER_FLAG.piece;
      return;
    }
    const section = this.#section;
    if (section !== null) {
      // What an instance adds at the end of its input comes after everything else.
      const carried = this.segment.topology.sections.some(
        (one) => one.carried === true && one.stages.includes(this.#stage),
      );
      assert(this.#drained && !carried, 'a buffer in an ordered section inherits its number');
      this.#stamp(section, at);
    } else if (route.sequencer !== null) this.#stamp(route, at);
  }

  #checkPart(part: number, split: boolean): void {
    assert(
      !split || part < this.#config.partsMax,
      `stage ${this.#config.name} makes at most partsMax buffers of one while order is kept`,
    );
  }

  #stamp(route: Route, at: number): void {
    const sequencer = route.sequencer as Sequencer;
    const words = this.#words;
    if (route.window !== null) {
      this.waiting.acquire(route.window, STATE.waitingOrder);
      words[at + DESCRIPTOR.part] = 0;
      words[at + DESCRIPTOR.flags] = BUFFER_FLAG.numbered | BUFFER_FLAG.last;
    }
    sequencer.next();
    words[at + DESCRIPTOR.sequenceLow] = sequencer.low;
    words[at + DESCRIPTOR.sequenceHigh] = sequencer.high;
  }

  /** Tells the resequencer that nothing more comes of this buffer's number. */
  #skip(at: number): void {
    const words = this.#words;
    const section = this.#section as Route;
    const last = ((words[at + DESCRIPTOR.flags] as number) & BUFFER_FLAG.last) !== 0;
    words[at + DESCRIPTOR.flags] = 0;
    (section.resequencer as Resequencer).skip(
      words[at + DESCRIPTOR.sequenceLow] as number,
      words[at + DESCRIPTOR.part] as number,
      last,
    );
    if (section.lazyInstances > 0) this.#startMore(section);
  }

  /** Asks for one more instance of a stage whose queue has grown. */
  #startMore(route: Route): void {
    const at = route.stageWord + STAGE.started;
    const started = Atomics.load(this.#words, at);
    if (started >= route.lazyInstances) return;
    if (route.ready.count <= started * LIMITS.lazyBacklogBuffers) return;
    if (Atomics.compareExchange(this.#words, at, started, started + 1) !== started) return;
    this.#hooks.start(route.stage, started);
  }

  /** Takes over a buffer from a queue. */
  #own(index: number, from: number): void {
    const at = descriptorAt(this.segment.layout, index);
    const before = Atomics.compareExchange(this.#words, at + DESCRIPTOR.owner, from, this.#me);
    assert(before === from, `buffer ${index} lies in the queue that it was taken from`);
    this.#owned++;
  }

  #disown(at: number, to: number): void {
    const before = Atomics.compareExchange(this.#words, at + DESCRIPTOR.owner, this.#me, to);
    assert(before === this.#me, 'an instance hands over what it owns');
    this.#owned--;
  }
}
