/**
 * A device behind iSCSI: `ScsiDevice` over sessions that are made again when they break.
 *
 * Contract: that of scsi-device.ts. A new session is made at the next command, with a back-off, for at most
 * LIMITS.iscsiReconnectMs; it has the name of the old one, so that the target ends what was left of that
 * before it answers. No command is sent twice.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Clock, openClock, openRandom, openSystem, type Random } from '../host/mod.ts';
import { formatIscsiAddress, type IscsiAddress } from './iscsi-address.ts';
import type { ChapSecrets } from './iscsi-chap.ts';
import { DEFAULT_OFFER, type KeyOffer } from './iscsi-keys.ts';
import { type OpenOptions, openSession, type Portal, parsePortal } from './iscsi-open.ts';
import { askText, pingTarget, resetUnit } from './iscsi-requests.ts';
import type { IscsiSession } from './iscsi-session.ts';
import { ISCSI_TIMES, type IscsiTimes } from './iscsi-times.ts';
import type { ScsiCommand, ScsiDevice, ScsiResult } from './scsi-device.ts';

export interface IscsiOptions {
  /** This machine's name among initiators; made from the host's name if absent. */
  readonly initiatorName?: string;
  readonly chap?: ChapSecrets;
  readonly offer?: Partial<KeyOffer>;
  readonly times?: Partial<IscsiTimes>;
  readonly reconnectMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** `iqn.2026-01.net.penstock:HOST`, of what a name may have. */
export function defaultInitiatorName(hostName: string): string {
  const host = hostName.toLowerCase().replace(/[^a-z0-9.-]+/g, '-');
  return `iqn.2026-01.net.penstock:${host || 'host'}`.slice(0, 223);
}

function openOptions(
  portal: Portal,
  target: string | undefined,
  options: IscsiOptions,
): OpenOptions {
  const random = options.random ?? openRandom();
  // Type 2: the rest is random (RFC 7143, 11.12.5).
  const isid = random.bytes(6);
  isid.writeUInt8(0x80, 0);
  return {
    portal,
    isid,
    initiatorName: options.initiatorName ?? defaultInitiatorName(openSystem().hostName()),
    ...(target === undefined ? {} : { targetName: target }),
    ...(options.chap === undefined ? {} : { chap: options.chap }),
    offer: { ...DEFAULT_OFFER, ...options.offer },
    times: { ...ISCSI_TIMES, ...options.times },
    clock: options.clock ?? openClock(),
    random,
  };
}

/** Opens nothing yet: the first command does. */
export class IscsiDevice implements ScsiDevice {
  readonly name: string;
  readonly #lun: number;
  readonly #options: OpenOptions;
  readonly #reconnectMs: number;
  #session: IscsiSession | undefined;
  #opening: Promise<IscsiSession> | undefined;
  #generation = 0;

  constructor(address: IscsiAddress, options: IscsiOptions = {}) {
    this.name = formatIscsiAddress(address);
    this.#lun = address.lun;
    this.#options = openOptions(address, address.target, options);
    this.#reconnectMs = options.reconnectMs ?? LIMITS.iscsiReconnectMs;
  }

  get generation(): number {
    return this.#generation;
  }

  async connect(): Promise<void> {
    try {
      await this.#connected();
    } catch (thrown) {
      throw this.#named(thrown);
    }
  }

  async execute(command: ScsiCommand): Promise<ScsiResult> {
    try {
      const session = await this.#connected();
      return await session.execute(this.#lun, command);
    } catch (thrown) {
      throw this.#named(thrown);
    }
  }

  /** Asks the target for a sign of life. */
  async ping(): Promise<void> {
    await pingTarget(await this.#connected());
  }

  /** LOGICAL UNIT RESET. What the device had not written yet is lost. */
  async reset(): Promise<void> {
    await resetUnit(await this.#connected(), this.#lun);
  }

  /** What was negotiated; undefined while there is no session. */
  get parameters(): IscsiSession['parameters'] | undefined {
    return this.#session?.parameters;
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    const session = this.#session;
    this.#session = undefined;
    await session?.logout();
  }

  async #connected(): Promise<IscsiSession> {
    if (this.#session !== undefined && this.#session.failure === undefined) return this.#session;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #open(): Promise<IscsiSession> {
    const old = this.#session;
    this.#session = undefined;
    await old?.logout();
    const { clock } = this.#options;
    // The first time nobody has reason to wait for a target that is not there.
    const patienceMs = this.#generation === 0 ? 0 : this.#reconnectMs;
    const deadlineMs = clock.monotonicMs() + patienceMs;
    for (let waitMs: number = LIMITS.iscsiRetryMinMs; ; waitMs = Math.min(waitMs * 2, RETRY_MAX)) {
      try {
        this.#session = await openSession(this.#options);
        this.#generation += 1;
        return this.#session;
      } catch (thrown) {
        const error = toPenstockError(thrown);
        if (!error.retryable || clock.monotonicMs() + waitMs > deadlineMs) throw error;
        await pause(waitMs);
      }
    }
  }

  #named(thrown: unknown): PenstockError {
    const error = toPenstockError(thrown);
    if (!error.code.startsWith('DEVICE_')) return error;
    const { hint } = error;
    const text = `${this.name}: ${error.message}`;
    return new PenstockError(error.code, text, { cause: error, hint, subject: this.name });
  }
}

const RETRY_MAX = LIMITS.iscsiRetryMaxMs;

/** A target that a portal tells of, with the addresses where it is. */
export interface DiscoveredTarget {
  readonly target: string;
  readonly portals: readonly Portal[];
}

/** Asks a portal for its targets (SendTargets). */
export async function discoverTargets(
  portal: Portal,
  options: IscsiOptions = {},
): Promise<DiscoveredTarget[]> {
  const session = await openSession(openOptions(portal, undefined, options));
  try {
    const found: { target: string; portals: Portal[] }[] = [];
    for (const [key, value] of await askText(session, [['SendTargets', 'All']])) {
      if (key === 'TargetName') found.push({ target: value, portals: [] });
      if (key !== 'TargetAddress') continue;
      const where = parsePortal(value);
      if (where !== undefined) found.at(-1)?.portals.push(where);
    }
    return found;
  } finally {
    await session.logout();
  }
}
