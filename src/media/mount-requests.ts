/**
 * Asks for a tape that is not there, and waits until somebody has put one in.
 *
 * Contract: what is asked for is told once for each tape that comes and will not do. Waiting ends with the
 * tape, with the time, or with `stop`; what is in the drive then is for who asked to find out. Nothing is
 * written.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { formatDuration } from '../base/units.ts';

export interface MountRequest {
  /** Address of the drive; of the library where it is one that has no tape that would do. */
  readonly device: string;
  /** Other drives into which it may be put as well. */
  readonly otherDevices?: readonly string[];
  readonly isLibrary: boolean;
  /** Names of the tapes of which one is wanted. */
  readonly tapes: readonly string[];
  /** A blank one would do too. */
  readonly blank: boolean;
  /** What is there now; undefined: nothing, or that is not known. */
  readonly found: string | undefined;
  /** How long is waited; infinite: as long as it takes. */
  readonly waitMs: number;
}

/** Somebody who can put tapes into drives. */
export interface MountService {
  /** How long each tape is waited for; 0: nobody is there. */
  readonly waitMs: number;
  /** Nothing is waited for any more once it is aborted. */
  readonly signal: AbortSignal;
  tell(request: MountRequest): void;
}

/** What is asked for, for people. */
export function mountText({
  device,
  otherDevices = [],
  isLibrary,
  tapes,
  blank,
  found,
  waitMs,
}: MountRequest): string {
  const last = tapes.at(-1) ?? '';
  const named = tapes.length < 2 ? last : `${tapes.slice(0, -1).join(', ')} or ${last}`;
  const wanted = [...(blank ? ['a blank tape'] : []), ...(named === '' ? [] : [named])].join(
    ', or ',
  );
  const there = found === undefined ? '' : `; there is ${found}`;
  const limit = Number.isFinite(waitMs) ? ` (waiting for ${formatDuration(waitMs)})` : '';
  const into = [device, ...otherDevices].join(' or ');
  return `put ${wanted} into the ${isLibrary ? 'library' : 'drive'} ${into}${there}${limit}`;
}

type Request = Omit<MountRequest, 'waitMs'>;

export class MountDesk {
  readonly #waitMs: number;
  readonly #tell: (request: MountRequest) => void;
  readonly #stopped = new AbortController();
  /** Nobody is asked for the time being. */
  isHeld = false;

  constructor(waitMs: number, tell: (request: MountRequest) => void) {
    this.#waitMs = waitMs;
    this.#tell = tell;
  }

  /** Whether it is of use to ask. */
  get isOpen(): boolean {
    return this.#waitMs > 0 && !this.isHeld && !this.#stopped.signal.aborted;
  }

  /** Ends all waiting, and whatever would be waited for later. */
  stop(): void {
    this.#stopped.abort();
  }

  /**
   * Asks, and waits until `hasCome` says so; false: it did not come.
   *
   * @param pollMs how long to wait between two looks
   */
  async waitFor(
    request: Request,
    pollMs: number,
    hasCome: () => Promise<boolean>,
  ): Promise<boolean> {
    if (!this.isOpen) return false;
    this.#tell({ ...request, waitMs: this.#waitMs });
    const endMs = performance.now() + this.#waitMs;
    const { signal } = this.#stopped;
    while (!signal.aborted && performance.now() < endMs) {
      if (await hasCome()) return true;
      await pause(pollMs, undefined, { signal }).catch(() => undefined);
    }
    return false;
  }
}

/** For media that are opened in the thread of whoever asks. */
export function deskOf(service: MountService | undefined): MountDesk | undefined {
  if (service === undefined) return undefined;
  const { waitMs, signal } = service;
  const desk = new MountDesk(waitMs, (request) => service.tell(request));
  if (signal.aborted) desk.stop();
  else signal.addEventListener('abort', () => desk.stop(), { once: true });
  return desk;
}
