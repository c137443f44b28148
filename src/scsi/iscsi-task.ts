/**
 * One SCSI command on its way: which data goes when, and whether what comes belongs there.
 *
 * Contract: data is sent within what was negotiated: immediate with the command, unsolicited up to the first
 * burst, the rest as the target asks for it, in order and each byte once. Data that comes is taken in order
 * and within the command's memory only. Everything else is the target's fault: DEVICE_PROTOCOL.
 */
import { PenstockError } from '../base/errors.ts';
import type { SessionParameters } from './iscsi-keys.ts';
import { NO_TAG, type TargetPdu } from './iscsi-pdu.ts';
import type { ScsiCommand, ScsiResult } from './scsi-device.ts';
import { STATUS } from './scsi-device.ts';
import { decodeSense, type Sense } from './sense.ts';

/** A range of the command's data, in one PDU. */
export interface DataPiece {
  readonly targetTag: number;
  readonly dataSn: number;
  readonly offset: number;
  readonly bytes: number;
  readonly final: boolean;
}

const NO_DATA = new Uint8Array(0);

export class IscsiTask {
  readonly tag: number;
  readonly cmdSn: number;
  readonly lun: number;
  readonly command: ScsiCommand;
  readonly deadlineMs: number;
  readonly settle: {
    readonly resolve: (result: ScsiResult) => void;
    readonly reject: (error: PenstockError) => void;
  };
  /** It ran out of time, and the target was told to forget it. */
  isAborting = false;
  readonly #dataOut: Uint8Array;
  readonly #dataIn: Uint8Array;
  #sent = 0;
  #received = 0;
  #nextDataSn = 0;
  #nextR2tSn = 0;
  #sense: Sense | undefined;

  constructor(
    tag: number,
    cmdSn: number,
    lun: number,
    command: ScsiCommand,
    deadlineMs: number,
    settle: IscsiTask['settle'],
  ) {
    this.tag = tag;
    this.cmdSn = cmdSn;
    this.lun = lun;
    this.command = command;
    this.deadlineMs = deadlineMs;
    this.settle = settle;
    this.#dataOut = command.dataOut ?? NO_DATA;
    this.#dataIn = command.dataIn ?? NO_DATA;
  }

  get expectedBytes(): number {
    return this.#dataOut.length + this.#dataIn.length;
  }

  /** Data that goes with the command itself, and whether unsolicited data follows it. */
  begin(parameters: SessionParameters): { immediateBytes: number; final: boolean } {
    const unsolicited = Math.min(this.#dataOut.length, parameters.firstBurstBytes);
    const immediateBytes = parameters.immediateData
      ? Math.min(unsolicited, parameters.sendBytesMax)
      : 0;
    this.#sent = immediateBytes;
    return { immediateBytes, final: parameters.initialR2t || immediateBytes === unsolicited };
  }

  /** What is sent right after the command, unasked. */
  unsolicited(parameters: SessionParameters): DataPiece[] {
    if (parameters.initialR2t) return [];
    const end = Math.min(this.#dataOut.length, parameters.firstBurstBytes);
    return this.#piecesTo(end, NO_TAG, parameters.sendBytesMax);
  }

  /** What the target asks for. */
  solicited(
    pdu: Extract<TargetPdu, { kind: 'ready-to-transfer' }>,
    parameters: SessionParameters,
  ): DataPiece[] {
    const { offset, bytes, r2tSn, targetTag } = pdu;
    if (r2tSn !== this.#nextR2tSn) wrong(this, 'asked for data out of order');
    if (targetTag === NO_TAG) wrong(this, 'asked for data without a tag');
    if (bytes === 0 || bytes > parameters.maxBurstBytes) wrong(this, `asked for ${bytes} bytes`);
    if (offset !== this.#sent || offset + bytes > this.#dataOut.length) {
      wrong(this, `asked for bytes ${offset} to ${offset + bytes} of ${this.#dataOut.length}`);
    }
    this.#nextR2tSn += 1;
    return this.#piecesTo(offset + bytes, targetTag, parameters.sendBytesMax);
  }

  #piecesTo(end: number, targetTag: number, bytesMax: number): DataPiece[] {
    const pieces: DataPiece[] = [];
    while (this.#sent < end) {
      const offset = this.#sent;
      const bytes = Math.min(bytesMax, end - offset);
      this.#sent += bytes;
      const final = this.#sent === end;
      pieces.push({ targetTag, dataSn: pieces.length, offset, bytes, final });
    }
    return pieces;
  }

  dataOf(piece: { readonly offset: number; readonly bytes: number }): Uint8Array {
    return this.#dataOut.subarray(piece.offset, piece.offset + piece.bytes);
  }

  /** Where the data of this PDU belongs. */
  placeFor(pdu: Extract<TargetPdu, { kind: 'data-in' }>): Uint8Array {
    if (pdu.dataSn !== this.#nextDataSn || pdu.offset !== this.#received) {
      wrong(this, 'sent data out of order');
    }
    const end = pdu.offset + pdu.dataBytes;
    if (end > this.#dataIn.length) {
      wrong(this, `sent ${end} bytes, more than the ${this.#dataIn.length} that were asked for`);
    }
    this.#nextDataSn += 1;
    this.#received = end;
    return this.#dataIn.subarray(pdu.offset, end);
  }

  /** The sense data of a response: two bytes of length, then so many. */
  takeSense(data: Buffer): void {
    if (data.length < 2) return;
    const bytes = data.readUInt16BE(0);
    if (bytes > data.length - 2) wrong(this, 'sent sense data that is cut off');
    if (bytes > 0) this.#sense = decodeSense(data.subarray(2, 2 + bytes));
  }

  /** The answer; complete, or the target is at fault. */
  finish(status: number, residual: number): ScsiResult {
    const received = this.#received;
    const expected = this.#dataIn.length - Math.max(0, residual);
    if (status === STATUS.good && this.#dataIn.length > 0 && received !== expected) {
      wrong(this, `sent ${received} bytes and said ${expected}`);
    }
    return { status, sense: this.#sense, received, residual };
  }
}

function wrong(task: IscsiTask, what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `${task.command.name}: the target ${what}`);
}
