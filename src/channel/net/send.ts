/**
 * The agent at the end of a pipe's near half (P11): sends the buffers that it receives to its peer, a
 * `receive` on another machine, over several connections.
 *
 * Contract: a buffer is freed once the peer has said that it has taken it over; until then it is kept, and
 * sent again by any connection if the one that carried it breaks. Nothing is sent beyond the number that
 * the peer has granted. It has ended once the peer has said that it has all.
 *
 *   of a buffer:   ready ──▶ flying ──▶ freed
 *                    ▲          │ its connection broke
 *                    └──────────┘
 *
 * Numbers: those that the pipe's sequencer stamped where several agents share the work (the stage is
 * `numbered`), else those of arrival. Counters: 0 buffers, 1 bytes, 2 buffers sent again, 3 connections.
 */
import { PenstockError } from '../../base/errors.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../../pipe/mod.ts';
import { FRAME_KIND, FRAME_WORDS, type Frame, newFrame } from './frame.ts';
import type { Link } from './link.ts';
import { type HandOver, Links, type LinksOptions } from './links.ts';
import { reserve, type SharedRate, sliceBytes } from './rate-limit.ts';

export interface SendOptions extends LinksOptions {
  /** Words of a buffer that say how many bytes of its header room and directory room travel. */
  readonly headerBytesWord?: number;
  readonly directoryBytesWord?: number;
  readonly rate?: SharedRate;
}

/** What the controller tells agents. */
export type AgentMessage = HandOver | { readonly type: 'far-ended' };

interface Item {
  readonly buffer: PipeBuffer;
  readonly sequence: number;
  link: Link | null;
  /** Its bytes are being handed to a connection. */
  writing: boolean;
  taken: boolean;
}

const NO_BODY = { headerBytes: 0, payloadBytes: 0, directoryBytes: 0 };

class Sender {
  readonly #options: SendOptions;
  readonly #context: ModuleContext;
  readonly #links: Links;
  readonly #frame: Frame = newFrame();
  /** Not on their way, the lowest number first. */
  readonly #ready: Item[] = [];
  readonly #flying = new Map<number, Item>();
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers();
  #wakers: (() => void)[] = [];
  #granted = 0;
  #arrived = 0;
  #drained = false;
  #over = false;

  constructor(options: SendOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    this.#links = new Links(options, context.instance, NO_BODY, {
      opened: (link) => this.#opened(link),
      beat: (link) => link.tell(this.#control(FRAME_KIND.beat)),
      begin: () => null,
      end: (_link, frame) => this.#heard(frame),
      closed: (link) => this.#closed(link),
      lost: (error) => this.#fail(error),
      defect: (thrown) => this.#fail(thrown),
    });
  }

  async run(): Promise<void> {
    this.#links.start();
    this.#feed().catch((thrown) => this.#fail(thrown));
    try {
      await this.#done.promise;
    } finally {
      this.#over = true;
      this.#wake();
    }
    this.#links.close(true);
  }

  control(message: AgentMessage): true | undefined {
    if (message.type === 'link') return this.#links.accept(message) || undefined;
    if (this.#drained && this.#ready.length + this.#flying.size === 0) this.#done.resolve();
    return undefined;
  }

  abort(): void {
    this.#over = true;
    this.#links.close();
    this.#wake();
  }

  #fail(thrown: unknown): void {
    this.#done.reject(thrown);
  }

  /** Takes buffers from the pipe, no more than the connections can begin with. */
  async #feed(): Promise<void> {
    const context = this.#context;
    const config = context.segment.config.stages.find(({ name }) => name === context.stage);
    const stamped = config?.numbered === true && context.instances > 1;
    while (!this.#over) {
      // Stamped numbers may come a little out of order: a lower one may be behind what is not granted.
      const mayBeBehind = stamped && (this.#ready[0]?.sequence ?? 0) > this.#granted;
      if (!mayBeBehind && this.#ready.length >= Math.max(1, this.#links.live.size)) {
        await this.#changed();
        continue;
      }
      const buffer = await context.receiveBufLater();
      if (buffer === null) break;
      this.#arrived++;
      const sequence = stamped ? buffer.sequence : this.#arrived;
      this.#put({ buffer, sequence, link: null, writing: false, taken: false });
      this.#wake();
    }
    this.#drained = true;
    this.#wake();
  }

  #put(item: Item): void {
    const after = this.#ready.findIndex(({ sequence }) => sequence > item.sequence);
    this.#ready.splice(after < 0 ? this.#ready.length : after, 0, item);
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#wakers.push(resolve));
  }

  #wake(): void {
    const wakers = this.#wakers;
    if (wakers.length === 0) return;
    this.#wakers = [];
    for (const wake of wakers) wake();
  }

  #opened(link: Link): void {
    this.#context.progress(3, 1);
    link.tell(this.#control(FRAME_KIND.beat));
    this.#serve(link).catch(() => link.destroy('it broke while it was written'));
    this.#wake();
  }

  /** Sends over one connection until it breaks or all is done. */
  async #serve(link: Link): Promise<void> {
    let told = false;
    while (link.open && !this.#over) {
      const item = this.#ready[0];
      if (item !== undefined && item.sequence <= this.#granted) {
        this.#ready.shift();
        await this.#send(link, item);
        this.#wake();
        continue;
      }
      if (!told && this.#drained && this.#ready.length + this.#flying.size === 0) {
        told = true;
        link.tell(this.#control(FRAME_KIND.end, this.#arrived));
      }
      await this.#changed();
    }
  }

  async #send(link: Link, item: Item): Promise<void> {
    const { buffer } = item;
    const { headerBytesWord, directoryBytesWord } = this.#options;
    // Before the frame is made: its mark must not be above the number.
    this.#flying.set(item.sequence, item);
    const frame = this.#control(FRAME_KIND.data, item.sequence);
    frame.headerBytes = headerBytesWord === undefined ? 0 : buffer.word(headerBytesWord);
    frame.payloadBytes = buffer.length;
    frame.directoryBytes = directoryBytesWord === undefined ? 0 : buffer.word(directoryBytesWord);
    frame.bufferKind = buffer.kind;
    for (let i = 0; i < FRAME_WORDS; i++) frame.words[i] = buffer.word(i);
    item.link = link;
    item.writing = true;
    const { headerBytes, payloadBytes, directoryBytes } = frame;
    const start = buffer.payloadOffset - headerBytes;
    try {
      link.start(frame);
      await this.#write(link, buffer, start, headerBytes + payloadBytes);
      await this.#write(link, buffer, buffer.directoryOffset, directoryBytes);
    } finally {
      item.writing = false;
      if (item.taken) this.#free(item);
      else if (!link.open && item.link === link) this.#again(item);
    }
  }

  async #write(link: Link, buffer: PipeBuffer, from: number, length: number): Promise<void> {
    const { rate } = this.#options;
    const slice = sliceBytes(rate);
    for (let at = from; at < from + length; at += slice) {
      const end = Math.min(at + slice, from + length);
      if (rate !== undefined) await this.#turn(reserve(rate, end - at, process.hrtime.bigint()));
      await link.write(buffer.memory, at, end - at);
      this.#context.progress(1, end - at);
    }
  }

  async #turn(waitMs: number): Promise<void> {
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }

  /** The frame that all are written from; its words are those of the last one. */
  #control(kind: number, sequence = 0): Frame {
    const frame = this.#frame;
    frame.kind = kind;
    frame.sequence = sequence;
    frame.headerBytes = 0;
    frame.payloadBytes = 0;
    frame.directoryBytes = 0;
    frame.mark = this.#lowestKept();
    return frame;
  }

  /** What has a lower number was taken by the peer, or is another agent's. */
  #lowestKept(): number {
    let lowest = this.#ready[0]?.sequence ?? Number.MAX_SAFE_INTEGER;
    for (const { sequence } of this.#flying.values()) lowest = Math.min(lowest, sequence);
    return lowest === Number.MAX_SAFE_INTEGER ? 0 : lowest;
  }

  #heard(frame: Frame): void {
    switch (frame.kind) {
      case FRAME_KIND.taken:
        this.#grant(frame.mark);
        this.#taken(frame.sequence);
        break;
      case FRAME_KIND.grant:
        this.#grant(frame.mark);
        break;
      case FRAME_KIND.ended:
        if (this.#drained && frame.sequence === this.#arrived) this.#done.resolve();
        else
          throw new PenstockError('NET_PROTOCOL', 'the other side says that it has more than all');
        break;
      default:
        throw new PenstockError(
          'NET_PROTOCOL',
          `a receiver does not send frames of kind ${frame.kind}`,
        );
    }
  }

  #grant(mark: number): void {
    if (mark <= this.#granted) return;
    this.#granted = mark;
    this.#wake();
  }

  #taken(sequence: number): void {
    const item = this.#flying.get(sequence);
    if (item !== undefined) {
      item.taken = true;
      if (!item.writing) this.#free(item);
      return;
    }
    // Its connection broke, but it had arrived.
    const waiting = this.#ready.findIndex((one) => one.sequence === sequence);
    const [again] = waiting < 0 ? [] : this.#ready.splice(waiting, 1);
    if (again !== undefined) this.#free(again);
  }

  #free(item: Item): void {
    this.#flying.delete(item.sequence);
    this.#context.freeBuf(item.buffer);
    this.#context.progress(0, 1);
    this.#wake();
  }

  #closed(link: Link): void {
    for (const item of [...this.#flying.values()]) {
      if (item.link === link && !item.writing) this.#again(item);
    }
    this.#wake();
  }

  #again(item: Item): void {
    this.#flying.delete(item.sequence);
    item.link = null;
    this.#put(item);
    this.#context.progress(2, 1);
    this.#wake();
  }
}

export default function send(options: SendOptions): PipeModule {
  let sender: Sender | undefined;
  return {
    runAsync(context) {
      sender = new Sender(options, context);
      return sender.run();
    },
    control: (message) => sender?.control(message as AgentMessage),
    abort: () => sender?.abort(),
  };
}
