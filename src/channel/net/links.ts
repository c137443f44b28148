/**
 * The data connections of one agent: made, watched, made again.
 *
 *   connecting side, each of n slots:   waiting ──▶ setting up ──▶ live ──▶ broken ─┐
 *                                          ▲            └──────── failed ───────────┤
 *                                          └──────── back-off (doubles, to a limit) ┘
 *   accepting side: takes what the data port hands over, each attempt of a token once.
 *
 * Contract: an agent that has had no live connection for `lostMs` has lost the other side: `lost` is told
 * once, with NET_LOST. `close` ends everything at once; nothing is told afterwards.
 */
import { closeSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { FrameBounds } from './frame.ts';
import { Link, type LinkEvents } from './link.ts';
import { closeLinkCipher } from './link-cipher.ts';
import { acceptLink, connectLink, joinLink, type ReadyLink, SetUps } from './link-setup.ts';

/** Plain data, part of the options of both agents. */
export interface LinksOptions {
  /** Of the half pipe at the accepting side, 32 hexadecimal digits. */
  readonly id: string;
  /** What the keys of its data connections are made of, 32 bytes. */
  readonly secret: Uint8Array;
  /** Where to connect to; without it this side accepts. */
  readonly connect?: {
    readonly host: string;
    readonly port: number;
    /** Connections of each agent. */
    readonly links: number;
    /** Addresses of this machine to spread the connections over. */
    readonly localAddresses?: readonly string[];
  };
  /** Default: LIMITS.linksLostMs. */
  readonly lostMs?: number;
}

export interface LinksEvents extends LinkEvents {
  /** A connection is up. */
  opened(link: Link): void;
  /** A connection has been idle: send a frame. */
  beat(link: Link): void;
  lost(error: PenstockError): void;
}

/** What the data port's thread sends to the agents' threads. */
export interface HandOver {
  readonly type: 'link';
  readonly agent: number;
  readonly attempt: number;
  readonly descriptor: number;
  /** A stream of shared connections that this side has begun, and the other one has admitted. */
  readonly joins?: boolean;
}

export class Links {
  readonly live: Set<Link> = new Set();
  readonly #options: LinksOptions;
  readonly #agent: number;
  readonly #bounds: FrameBounds;
  readonly #events: LinksEvents;
  readonly #abort: AbortController = new AbortController();
  readonly #used: Set<number> = new Set();
  readonly #setUps: SetUps = new SetUps();
  #attempts = 0;
  #aloneMs: number = performance.now();
  #lastTrouble = 'nobody connected';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LinksOptions, agent: number, bounds: FrameBounds, events: LinksEvents) {
    this.#options = options;
    this.#agent = agent;
    this.#bounds = bounds;
    this.#events = events;
  }

  start(): void {
    const { connect } = this.#options;
    this.#aloneMs = performance.now();
    this.#timer = setInterval(() => this.#look(), LIMITS.linkBeatMs / 4);
    for (let slot = 0; slot < (connect?.links ?? 0); slot++) void this.#keepConnected(slot);
  }

  /** Takes a connection over from the data port; false if it is not for this agent. */
  accept({ agent, attempt, descriptor, joins = false }: HandOver): boolean {
    if (agent !== this.#agent || this.#abort.signal.aborted) return false;
    if (this.#options.connect !== undefined || this.live.size >= LIMITS.linksPerAgentMax) {
      return false;
    }
    void this.#setUp(attempt, descriptor, joins);
    return true;
  }

  /** Ends all connections; in order, if the agents are done with each other. */
  close(inOrder = false): void {
    if (this.#abort.signal.aborted) return;
    clearInterval(this.#timer);
    this.#abort.abort();
    for (const link of this.live) {
      if (inOrder) link.finish();
      else link.destroy('this side ended');
    }
    this.live.clear();
  }

  async #setUp(attempt: number, descriptor: number, joins: boolean): Promise<void> {
    const { id, secret } = this.#options;
    const preamble = { id, agent: this.#agent, attempt };
    const cancel = this.#setUps.begin();
    const signal = AbortSignal.any([this.#abort.signal, cancel.signal]);
    try {
      const take = joins ? joinLink : acceptLink;
      const ready = await take(descriptor, secret, preamble, signal);
      if (this.#used.has(attempt) || this.#used.size >= LIMITS.linkAttemptsMax) {
        refuse(ready);
      } else {
        this.#used.add(attempt);
        this.#begin(ready);
      }
    } catch (thrown) {
      this.#lastTrouble = (thrown as Error).message;
    } finally {
      this.#setUps.end(cancel);
    }
  }

  /** Keeps one of the connections up until the end. */
  async #keepConnected(slot: number): Promise<void> {
    const { signal } = this.#abort;
    let delayMs: number = LIMITS.linkRetryMinMs;
    while (!signal.aborted) {
      try {
        const gone = await this.#connect(slot);
        delayMs = LIMITS.linkRetryMinMs;
        await gone;
      } catch (thrown) {
        this.#lastTrouble = (thrown as Error).message;
      }
      await pause(delayMs, signal);
      delayMs = Math.min(2 * delayMs, LIMITS.linkRetryMaxMs);
    }
  }

  /** Resolves, once a connection is up, with its end. */
  async #connect(slot: number): Promise<Promise<void>> {
    const { id, secret, connect } = this.#options;
    assert(connect !== undefined, 'this side connects');
    assert(this.#attempts < LIMITS.linkAttemptsMax, 'an agent does not connect for ever');
    const preamble = { id, agent: this.#agent, attempt: this.#attempts++ };
    const { host, port, localAddresses = [] } = connect;
    const place = this.#agent * connect.links + slot;
    const ready = await connectLink(
      { host, port, localAddress: localAddresses[place % Math.max(1, localAddresses.length)] },
      secret,
      preamble,
      this.#abort.signal,
    );
    const { socket } = ready;
    // What has closed since it was set up does not say so again: the slot would wait for ever.
    if (socket.destroyed) throw new Error('a data connection was ended at its beginning');
    const gone = new Promise<void>((end) => socket.once('close', () => end()));
    this.#begin(ready);
    return gone;
  }

  #begin(ready: ReadyLink): void {
    if (this.#abort.signal.aborted) {
      refuse(ready);
      return;
    }
    const { socket, cipher, rest } = ready;
    const link = new Link(socket, cipher, this.#bounds, {
      begin: (of, frame) => this.#events.begin(of, frame),
      end: (of, frame, target) => this.#events.end(of, frame, target),
      closed: (of, clean) => this.#closed(of, clean),
      defect: (thrown) => this.#events.defect(thrown),
    });
    this.live.add(link);
    try {
      this.#events.opened(link);
    } catch (thrown) {
      this.#events.defect(thrown);
    }
    link.begin(rest);
  }

  #closed(link: Link, clean: boolean): void {
    if (!this.live.delete(link)) return;
    if (link.reason !== undefined) this.#lastTrouble = link.reason;
    if (this.live.size === 0) this.#aloneMs = performance.now();
    if (!this.#abort.signal.aborted) this.#events.closed(link, clean);
  }

  /** Beats, and notices silence and loneliness. */
  #look(): void {
    const now = performance.now();
    for (const link of this.live) {
      try {
        if (link.look(now)) this.#events.beat(link);
      } catch (thrown) {
        this.#events.defect(thrown);
      }
    }
    const lostMs = this.#options.lostMs ?? LIMITS.linksLostMs;
    if (this.live.size > 0 || now - this.#aloneMs < lostMs) return;
    this.#lose(
      new PenstockError(
        'NET_LOST',
        `no data connection to the other machine for ${Math.round(lostMs / 1000)} s: ${this.#lastTrouble}`,
      ),
    );
  }

  #lose(error: PenstockError): void {
    clearInterval(this.#timer);
    this.#events.lost(error);
  }
}

/** Ends a connection that is up and not wanted. */
function refuse({ socket, cipher }: ReadyLink): void {
  socket.destroy();
  closeLinkCipher(cipher);
}

/** Closes a descriptor that no agent has taken over. */
export function dropDescriptor(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch {
    // Nobody has it.
  }
}

/** Waits for so long, or until the signal says that it is over; not at all where it has said so before. */
export function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, delayMs);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}
