/**
 * A scripted iSCSI target on loopback: real PDUs, and every fault that a test asks for.
 *
 * Contract: shares no code with src but Node's own. It is strict: what an initiator does against RFC 7143 is
 * noted in `violations`. `script` sees every PDU that comes, and may have it answered in another way, or not.
 * `stop` leaves nothing behind.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import {
  crc32c,
  type Incoming,
  pdu,
  TargetLogin,
  type TargetOptions,
} from './iscsi-target-login.ts';
import { type Answer, TapeModel } from './scsi-tape.ts';

export { type Incoming, pdu, type TargetOptions } from './iscsi-target-login.ts';

export type Action =
  /** As usual. */
  | undefined
  /** The connection ends at once. */
  | 'cut'
  /** As usual, but the connection ends instead of the answer. */
  | 'cut-after'
  /** No answer. */
  | 'stall'
  /** This instead of what the device would say; a command's data is still asked for. */
  | { readonly answer: Answer }
  | { readonly reject: number }
  /** Bytes as they are, instead. */
  | { readonly raw: Buffer }
  /** As usual, and the next PDU out has this bit wrong. */
  | { readonly flip: 'header' | 'data' }
  /** As usual, but first this is sent. */
  | { readonly before: readonly Buffer[] };

export class ScriptedTarget {
  readonly device = new TapeModel();
  readonly violations: string[] = [];
  readonly seen: Incoming[] = [];
  script: (pdu: Incoming) => Action = () => undefined;
  readonly options: TargetOptions;
  readonly #server: Server;
  readonly #connections = new Set<TargetConnection>();
  connections = 0;
  /** The connection for which the drive is reserved. */
  reservedFor: number | undefined;
  hasSaid = false;

  constructor(options: TargetOptions = {}) {
    this.options = options;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.connections += 1;
      const connection = new TargetConnection(this, socket, this.connections);
      this.#connections.add(connection);
      const { connections: number } = this;
      socket.on('close', () => {
        this.#connections.delete(connection);
        if (this.reservedFor === number) this.reservedFor = undefined;
      });
    });
  }

  static async start(options: TargetOptions = {}): Promise<ScriptedTarget> {
    const target = new ScriptedTarget(options);
    target.#server.listen(0, '127.0.0.1');
    await once(target.#server, 'listening');
    return target;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(user?: string): string {
    const who = user === undefined ? '' : `${user}@`;
    return `iscsi://${who}127.0.0.1:${this.port}/iqn.2026-01.test:scripted/0`;
  }

  /** Sends bytes on every connection that is open. */
  say(bytes: (connection: TargetConnection) => Buffer): void {
    this.hasSaid = true;
    for (const connection of this.#connections) connection.socket.write(bytes(connection));
  }

  cut(): void {
    for (const { socket } of this.#connections) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

interface Writing {
  readonly command: Incoming;
  readonly data: Buffer;
  filled: number;
  r2tSn: number;
  /** What may come now: tag, end, next number. */
  open: { tag: number; end: number; dataSn: number } | undefined;
  readonly action: Action;
}

export class TargetConnection {
  readonly socket: Socket;
  readonly #target: ScriptedTarget;
  readonly #number: number;
  readonly #writings = new Map<number, Writing>();
  readonly #login: TargetLogin;
  #bytes: Buffer = Buffer.alloc(0);
  #expCmdSn = 0;
  statSn = 100;
  #flip: 'header' | 'data' | undefined;

  constructor(target: ScriptedTarget, socket: Socket, number: number) {
    this.#target = target;
    this.socket = socket;
    this.#number = number;
    this.#login = new TargetLogin(target.options);
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      while (this.#next()) if (socket.destroyed) return;
    });
  }

  get maxCmdSn(): number {
    return (this.#expCmdSn + (this.#target.options.window ?? 16) - 1) >>> 0;
  }

  get expCmdSn(): number {
    return this.#expCmdSn;
  }

  #limit(key: string): number {
    return Number(this.#login.keys[key]);
  }

  #violation(text: string): void {
    this.#target.violations.push(text);
  }

  #next(): boolean {
    const header = this.#bytes.subarray(0, 48);
    if (header.length < 48) return false;
    const headerEnd = 48 + (this.#login.digests.header ? 4 : 0);
    const length = header.readUIntBE(5, 3);
    const padded = (length + 3) & ~3;
    const end = headerEnd + padded + (this.#login.digests.data && length > 0 ? 4 : 0);
    if (this.#bytes.length < end) return false;
    if (this.#login.digests.header && this.#bytes.readUInt32LE(48) !== crc32c(header)) {
      this.#violation('header digest');
    }
    const body = this.#bytes.subarray(headerEnd, headerEnd + padded);
    if (end > headerEnd + padded && this.#bytes.readUInt32LE(end - 4) !== crc32c(body)) {
      this.#violation('data digest');
    }
    if (length > this.#limit('MaxRecvDataSegmentLength')) this.#violation(`segment of ${length}`);
    const incoming: Incoming = {
      opcode: header.readUInt8(0) & 0x3f,
      header: Buffer.from(header),
      data: Buffer.from(body.subarray(0, length)),
      task: header.readUInt32BE(16),
      cdb: Buffer.from(header.subarray(32, 48)),
      connection: this.#number,
    };
    this.#bytes = this.#bytes.subarray(end);
    this.#target.seen.push(incoming);
    this.#act(incoming);
    return true;
  }

  #act(incoming: Incoming): void {
    const action = this.#target.script(incoming);
    if (action === 'cut') return void this.socket.destroy();
    if (typeof action === 'object' && 'raw' in action) return void this.socket.write(action.raw);
    if (typeof action === 'object' && 'reject' in action)
      return this.#reject(incoming, action.reject);
    if (typeof action === 'object' && 'flip' in action) this.#flip = action.flip;
    if (typeof action === 'object' && 'before' in action) {
      for (const bytes of action.before) this.socket.write(bytes);
    }
    const isCommand = incoming.opcode === 1;
    if (action === 'stall' && !isCommand) return;
    this.#checkNumbers(incoming);
    switch (incoming.opcode) {
      case 0x00:
        return this.#nop(incoming);
      case 0x01:
        return this.#command(incoming, action);
      case 0x02:
        return this.#answer(0x22, 0x80, { 16: incoming.task });
      case 0x03:
        return this.#answerLogin(incoming);
      case 0x04:
        return this.#text(incoming);
      case 0x05:
        return this.#dataOut(incoming);
      case 0x06:
        this.#answer(0x26, 0x80, { 16: incoming.task });
        return void this.socket.end();
      default:
        this.#violation(`operation ${incoming.opcode}`);
    }
  }

  #checkNumbers({ opcode, header }: Incoming): void {
    if (opcode === 0x03) return;
    if (!this.#login.isFull) this.#violation(`operation ${opcode} during the login`);
    const immediate = (header.readUInt8(0) & 0x40) !== 0;
    // What was said unasked may be on its way still.
    if (!this.#target.hasSaid && header.readUInt32BE(28) !== this.statSn) {
      this.#violation('ExpStatSN');
    }
    if (opcode === 0x05) return;
    if (header.readUInt32BE(24) !== this.#expCmdSn) this.#violation('CmdSN');
    if (!immediate) this.#expCmdSn += 1;
  }

  // Sending.

  /** An answer with a status number. */
  #answer(opcode: number, flags: number, numbers: Record<number, number>, data?: Uint8Array): void {
    const header = pdu(opcode, flags, { 24: this.statSn, ...numbers });
    this.statSn += 1;
    this.send(header, data);
  }

  send(header: Buffer, data: Uint8Array = new Uint8Array(0)): void {
    header.writeUIntBE(data.length, 5, 3);
    header.writeUInt32BE(this.#expCmdSn, 28);
    header.writeUInt32BE(this.maxCmdSn, 32);
    const parts: Uint8Array[] = [Buffer.from(header)];
    const digest = (bytes: Uint8Array): Buffer => {
      const out = Buffer.alloc(4);
      out.writeUInt32LE(crc32c(bytes));
      return out;
    };
    if (this.#login.digests.header) parts.push(digest(header));
    if (data.length > 0) {
      const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
      parts.push(padded);
      if (this.#login.digests.data) parts.push(digest(padded));
    }
    const part = parts[this.#flip === 'header' ? 0 : parts.length > 2 ? parts.length - 2 : -1];
    if (this.#flip !== undefined && part !== undefined) {
      part[this.#flip === 'header' ? 24 : 0] =
        (part[this.#flip === 'header' ? 24 : 0] as number) ^ 1;
      this.#flip = undefined;
    }
    this.socket.write(Buffer.concat(parts));
  }

  #reject(incoming: Incoming, reason: number): void {
    const header = pdu(0x3f, 0x80, { 16: 0xffffffff, 24: this.statSn });
    header[2] = reason;
    this.statSn += 1;
    this.send(header, incoming.header);
  }

  #nop(incoming: Incoming): void {
    if (incoming.task === 0xffffffff) return;
    this.#answer(0x20, 0x80, { 16: incoming.task, 20: 0xffffffff }, incoming.data);
  }

  #answerLogin(incoming: Incoming): void {
    this.#expCmdSn = incoming.header.readUInt32BE(24);
    const { header, text } = this.#login.answer(incoming);
    header.writeUInt32BE(this.statSn, 24);
    this.statSn += 1;
    this.send(header, text);
    this.#login.settle();
  }

  #text(incoming: Incoming): void {
    const lines = this.#target.options.sendTargets ?? [];
    const tag = incoming.header.readUInt32BE(20);
    // In two parts, to be asked for.
    const isFirst = tag === 0xffffffff;
    const half = Math.ceil(lines.length / 2);
    const part = isFirst ? lines.slice(0, half) : lines.slice(half);
    const body = Buffer.from(part.map((line) => `${line}\0`).join(''));
    const flags = isFirst && lines.length > 1 ? 0x40 : 0x80;
    this.#answer(0x24, flags, { 16: incoming.task, 20: flags === 0x80 ? 0xffffffff : 5 }, body);
  }

  // Commands.

  #command(command: Incoming, action: Action): void {
    const flags = command.header.readUInt8(1);
    const expected = command.header.readUInt32BE(20);
    if ((flags & 0x20) === 0) return this.#finish(command, Buffer.alloc(0), expected, action);
    const writing: Writing = {
      command,
      data: Buffer.alloc(expected),
      filled: 0,
      r2tSn: 0,
      open: undefined,
      action,
    };
    const isImmediate = this.#login.keys.ImmediateData === 'Yes';
    if (!isImmediate && command.data.length > 0) this.#violation('immediate data');
    this.#fill(writing, command.data);
    const first = Math.min(expected, this.#limit('FirstBurstLength'));
    if (command.data.length > first) this.#violation('first burst');
    this.#writings.set(command.task, writing);
    const isUnsolicited = (flags & 0x80) === 0;
    if (isUnsolicited && this.#login.keys.InitialR2T === 'Yes') this.#violation('unsolicited data');
    if (isUnsolicited) writing.open = { tag: 0xffffffff, end: first, dataSn: 0 };
    else this.#proceed(writing);
  }

  #fill(writing: Writing, bytes: Buffer): void {
    bytes.copy(writing.data, writing.filled);
    writing.filled += bytes.length;
  }

  /** All is there, or more is asked for. */
  #proceed(writing: Writing): void {
    const { command, data, filled } = writing;
    if (filled === data.length) {
      this.#writings.delete(command.task);
      return this.#finish(command, data, 0, writing.action);
    }
    if (writing.action === 'stall') return;
    const bytes = Math.min(data.length - filled, this.#limit('MaxBurstLength'));
    const tag = 0x1000 + writing.r2tSn;
    writing.open = { tag, end: filled + bytes, dataSn: 0 };
    const numbers = { 16: command.task, 20: tag, 24: this.statSn, 36: writing.r2tSn };
    writing.r2tSn += 1;
    this.send(pdu(0x31, 0x80, { ...numbers, 40: filled, 44: bytes }));
  }

  #dataOut(incoming: Incoming): void {
    const writing = this.#writings.get(incoming.task);
    const open = writing?.open;
    if (writing === undefined || open === undefined) return this.#violation('data for nothing');
    const { header, data } = incoming;
    if (header.readUInt32BE(20) !== open.tag) this.#violation('tag of data');
    if (header.readUInt32BE(36) !== open.dataSn) this.#violation('number of data');
    if (header.readUInt32BE(40) !== writing.filled) this.#violation('offset of data');
    this.#fill(writing, data);
    open.dataSn += 1;
    if (writing.filled > open.end) this.#violation('more data than asked for');
    const isFinal = (header.readUInt8(1) & 0x80) !== 0;
    if (isFinal !== (writing.filled === open.end)) this.#violation('final bit');
    if (isFinal) this.#proceed(writing);
  }

  /** RESERVE(6) and RELEASE(6) of SPC-2, which concern sessions and not the tape. */
  #execute({ cdb }: Incoming, out: Buffer, expected: number): Answer {
    const target = this.#target;
    const code = cdb.readUInt8(0);
    const isOurs = target.reservedFor === this.#number;
    if (target.device.lacks.has(code) || code === 0x12)
      return target.device.execute(cdb, out, expected);
    if (target.reservedFor !== undefined && !isOurs && code !== 0x17) return { status: 0x18 };
    if (code === 0x16) target.reservedFor = this.#number;
    else if (code === 0x17) target.reservedFor = isOurs ? undefined : target.reservedFor;
    else return target.device.execute(cdb, out, expected);
    return { status: 0 };
  }

  #finish(command: Incoming, out: Buffer, expected: number, action: Action): void {
    if (action === 'stall') return;
    const own = typeof action === 'object' && 'answer' in action ? action.answer : undefined;
    const { status, data, sense, residual = 0 } = own ?? this.#execute(command, out, expected);
    if (action === 'cut-after') return void this.socket.destroy();
    let offset = 0;
    for (let sn = 0; data !== undefined && offset < data.length; sn++) {
      const part = data.subarray(offset, offset + this.#login.receiveMax);
      const isLast = offset + part.length === data.length;
      // Status with the data where all is well, as targets do.
      const ends = isLast && status === 0;
      const header = pdu(
        0x25,
        (isLast ? 0x80 : 0) | (ends ? 0x01 : 0) | (ends && residual ? 2 : 0),
        {
          16: command.task,
          20: 0xffffffff,
          24: ends ? this.statSn : 0,
          36: sn,
          40: offset,
          44: ends ? residual : 0,
        },
      );
      if (ends) this.statSn += 1;
      this.send(header, part);
      offset += part.length;
      if (ends) return;
    }
    const flags = 0x80 | (residual > 0 ? 2 : 0);
    const header = pdu(0x21, flags, { 16: command.task, 24: this.statSn, 44: residual });
    header[3] = status;
    this.statSn += 1;
    const prefix = Buffer.alloc(2);
    prefix.writeUInt16BE(sense?.length ?? 0);
    this.send(header, sense === undefined ? undefined : Buffer.concat([prefix, sense]));
  }
}
