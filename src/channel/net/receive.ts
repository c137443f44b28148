/**
 * The agent at the beginning of a pipe's far half (P11): receives what its peer, a `send` on another
 * machine, sends over several connections, into buffers of its own pipe.
 *
 * Contract: each number is handed on once, whatever is sent again; a buffer is handed on only when all of
 * it has come. Where a later stage keeps order, the peer is granted no number beyond what can be held
 * (`carriedMax`), so that the lowest missing one always finds a buffer. It has ended once the peer has
 * said that it sent all, and all is here.
 *
 *   of a number:   unknown ──▶ arriving ──▶ handed on, remembered until the peer has forgotten it
 *                                 ▲ │ its connection broke, or another brings it anew:
 *                                 └─┘ the buffer is kept and filled again
 *
 * Counters: 0 buffers, 1 bytes, 2 frames that had come before, 3 connections.
 */
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../../pipe/mod.ts';
import { FRAME_KIND, FRAME_WORDS, type Frame, newFrame } from './frame.ts';
import type { Link } from './link.ts';
import { Links, type LinksOptions } from './links.ts';
import type { AgentMessage } from './send.ts';

export interface ReceiveOptions extends LinksOptions {
  /** Words of a buffer that are told how many bytes of its header room and directory room came. */
  readonly headerBytesWord?: number;
  readonly directoryBytesWord?: number;
  /** Numbers come in their order, over one connection, or not at all. */
  readonly inOrder?: boolean;
}

/** A number whose bytes are on their way. */
interface Arrival {
  link: Link;
  buffer: PipeBuffer | Promise<PipeBuffer>;
}

class Receiver {
  readonly #options: ReceiveOptions;
  readonly #context: ModuleContext;
  readonly #links: Links;
  readonly #frame: Frame = newFrame();
  readonly #arrivals = new Map<number, Arrival>();
  /** Handed on, and not below what the peer still keeps. */
  readonly #had = new Set<number>();
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers();
  #kept = 0;
  #handedOn = 0;
  #passed = 0;
  #ended = false;
  #over = false;

  constructor(options: ReceiveOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    const { headerRoomBytes } = LIMITS;
    const { payloadCapacityBytes, directoryCapacityBytes } = context.segment.layout;
    const bounds = {
      headerBytes: headerRoomBytes,
      payloadBytes: payloadCapacityBytes,
      directoryBytes: directoryCapacityBytes,
    };
    this.#links = new Links(options, context.instance, bounds, {
      opened: (link) => this.#opened(link),
      beat: (link) => link.tell(this.#control(FRAME_KIND.grant)),
      begin: (link, frame) => this.#begin(link, frame),
      end: (link, frame, target) => this.#end(link, frame, target),
      closed: (_link, clean) => this.#closed(clean),
      lost: (error) => this.#lost(error),
      defect: (thrown) => this.#done.reject(thrown),
    });
  }

  async run(): Promise<void> {
    this.#links.start();
    if (this.#context.carriedMax !== Number.POSITIVE_INFINITY) {
      this.#follow().catch((thrown) => this.#done.reject(thrown));
    }
    try {
      await this.#done.promise;
    } finally {
      this.#over = true;
    }
    this.#links.close(true);
  }

  control(message: AgentMessage): true | undefined {
    return (message.type === 'link' && this.#links.accept(message)) || undefined;
  }

  abort(): void {
    this.#over = true;
    this.#links.close();
  }

  /** Grants what has become possible, whoever made it so. */
  async #follow(): Promise<void> {
    while (!this.#over) {
      this.#passed = await this.#context.passedLater(this.#passed);
      for (const link of this.#links.live) link.tell(this.#control(FRAME_KIND.grant));
    }
  }

  #opened(link: Link): void {
    this.#context.progress(3, 1);
    link.tell(this.#control(FRAME_KIND.grant));
  }

  #control(kind: number, sequence = 0): Frame {
    const frame = this.#frame;
    const { carriedMax } = this.#context;
    frame.kind = kind;
    frame.sequence = sequence;
    frame.mark =
      carriedMax === Number.POSITIVE_INFINITY ? Number.MAX_SAFE_INTEGER : this.#passed + carriedMax;
    return frame;
  }

  #begin(link: Link, frame: Frame): PipeBuffer | null | Promise<PipeBuffer | null> {
    if (frame.kind !== FRAME_KIND.data) return null;
    const { sequence } = frame;
    this.#forget(frame.mark);
    if (this.#wasHad(sequence)) return null;
    const known = this.#arrivals.get(sequence);
    if (known !== undefined) {
      // The peer has given up the other connection: nothing of it may be laid into the buffer any more.
      if (known.link !== link) known.link.destroy('what it was bringing came over another one');
      known.link = link;
      return known.buffer;
    }
    const { carriedMax } = this.#context;
    if (sequence > this.#passed + carriedMax) {
      throw new PenstockError('NET_PROTOCOL', `number ${sequence} was not granted`);
    }
    if (this.#options.inOrder === true && sequence !== this.#handedOn + 1) {
      throw new PenstockError('NET_PROTOCOL', `number ${sequence} came out of its turn`);
    }
    const free = this.#context.tryAllocBuf();
    const arrival: Arrival = { link, buffer: free ?? this.#allocate(sequence) };
    this.#arrivals.set(sequence, arrival);
    return arrival.buffer;
  }

  async #allocate(sequence: number): Promise<PipeBuffer> {
    const buffer = await this.#context.allocBufLater();
    const arrival = this.#arrivals.get(sequence);
    if (arrival !== undefined) arrival.buffer = buffer;
    return buffer;
  }

  #wasHad(sequence: number): boolean {
    if (sequence < this.#kept || this.#had.has(sequence)) return true;
    return (
      this.#context.carriedMax !== Number.POSITIVE_INFINITY &&
      sequence <= this.#context.passed(this.#passed)
    );
  }

  /** The peer keeps nothing below: it will not send that again. */
  #forget(kept: number): void {
    if (kept <= this.#kept) return;
    this.#kept = kept;
    for (const sequence of this.#had) if (sequence < kept) this.#had.delete(sequence);
  }

  #end(link: Link, frame: Frame, target: PipeBuffer | null): void {
    switch (frame.kind) {
      case FRAME_KIND.data:
        if (target === null) this.#context.progress(2, 1);
        else this.#handOn(frame, target);
        link.tell(this.#control(FRAME_KIND.taken, frame.sequence));
        break;
      case FRAME_KIND.beat:
        this.#forget(frame.mark);
        break;
      case FRAME_KIND.end:
        if (frame.sequence !== this.#handedOn || this.#arrivals.size > 0) {
          throw new PenstockError(
            'NET_PROTOCOL',
            `the other side sent ${frame.sequence} buffers, and ${this.#handedOn} have come`,
          );
        }
        this.#ended = true;
        link.tell(this.#control(FRAME_KIND.ended, frame.sequence));
        setTimeout(() => this.#done.resolve(), LIMITS.linksLingerMs).unref();
        break;
      default:
        throw new PenstockError(
          'NET_PROTOCOL',
          `a sender does not send frames of kind ${frame.kind}`,
        );
    }
  }

  #handOn(frame: Frame, buffer: PipeBuffer): void {
    const { headerBytesWord, directoryBytesWord } = this.#options;
    this.#arrivals.delete(frame.sequence);
    this.#had.add(frame.sequence);
    this.#handedOn++;
    buffer.length = frame.payloadBytes;
    buffer.kind = frame.bufferKind;
    for (let i = 0; i < FRAME_WORDS; i++) buffer.setWord(i, frame.words[i] as number);
    if (headerBytesWord !== undefined) buffer.setWord(headerBytesWord, frame.headerBytes);
    if (directoryBytesWord !== undefined) buffer.setWord(directoryBytesWord, frame.directoryBytes);
    this.#context.carry(buffer, frame.sequence);
    this.#context.progress(0, 1);
    this.#context.progress(1, frame.headerBytes + frame.payloadBytes + frame.directoryBytes);
    this.#context.sendBuf(buffer);
  }

  #closed(clean: boolean): void {
    // The peer ends its connections once it knows that all has come.
    if (this.#ended && clean) this.#done.resolve();
  }

  #lost(error: PenstockError): void {
    if (this.#ended) this.#done.resolve();
    else this.#done.reject(error);
  }
}

export default function receive(options: ReceiveOptions): PipeModule {
  let receiver: Receiver | undefined;
  return {
    runAsync(context) {
      receiver = new Receiver(options, context);
      return receiver.run();
    },
    control: (message) => receiver?.control(message as AgentMessage),
    abort: () => receiver?.abort(),
  };
}
