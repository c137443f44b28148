/**
 * The port between SCSI commands and what carries them to a device.
 *
 * Contract: `execute` answers with a status, also one that says no; it throws a PenstockError only where
 * there is no answer: DEVICE_LOST (the connection broke), DEVICE_TIMEOUT, DEVICE_PROTOCOL, and when a new
 * connection is made, DEVICE_UNREACHABLE, DEVICE_REFUSED and DEVICE_BUSY. After DEVICE_LOST and DEVICE_TIMEOUT
 * whether the command was carried out is not known. Nothing is repeated here. The views belong to the device
 * until the answer has come.
 */
import type { Sense } from './sense.ts';

export interface ScsiCommand {
  /** For messages: `READ POSITION`. */
  readonly name: string;
  /** At most 16 bytes. */
  readonly cdb: Uint8Array;
  readonly dataOut?: Uint8Array;
  /** Where data goes; as much as may come. */
  readonly dataIn?: Uint8Array;
  readonly timeoutMs: number;
}

export interface ScsiResult {
  readonly status: number;
  /** With CHECK CONDITION. */
  readonly sense: Sense | undefined;
  /** Bytes of `dataIn` that came. */
  readonly received: number;
  /** Bytes that were expected and not transferred; negative: that did not fit. */
  readonly residual: number;
}

export interface ScsiDevice {
  /** For messages: its address. */
  readonly name: string;
  /**
   * How often its connection was made: when this changes between two commands the device may have been
   * reset, and position and settings are to be checked.
   */
  readonly generation: number;
  /** Connects, if it is not connected: a command that follows at once goes over this connection. */
  connect(): Promise<void>;
  /** Connects, if it is not connected. */
  execute(command: ScsiCommand): Promise<ScsiResult>;
  /** Ends the session in order. May be called again; a later command connects anew. */
  close(): Promise<void>;
}

export const STATUS = {
  good: 0x00,
  checkCondition: 0x02,
  conditionMet: 0x04,
  busy: 0x08,
  reservationConflict: 0x18,
  taskSetFull: 0x28,
  acaActive: 0x30,
  taskAborted: 0x40,
} as const;
