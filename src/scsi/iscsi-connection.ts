/**
 * One TCP connection that carries PDUs: connecting, sending with digests, and what comes cut into PDUs.
 *
 * Contract: it never throws after it is open: whatever ends it is told once by `ended`, with a PenstockError,
 * and nothing is told afterwards. What is sent is not copied: it must stay as it is until the answer. What
 * comes is laid by the system where it belongs, and never into memory of a command that has ended. What the
 * other side does not take is bounded by what the session has outstanding; answers to pings by
 * LIMITS.iscsiUnsentBytesMax.
 */
import { connect, type Socket } from 'node:net';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { crc32cOf } from '../host/mod.ts';
import { PduParser, type PduSink } from './iscsi-parser.ts';
import { BHS_BYTES, DIGEST_BYTES, paddingOf } from './iscsi-pdu.ts';

export interface ConnectionEvents extends PduSink {
  /** Bytes came. */
  heard(): void;
  ended(error: PenstockError): void;
}

const ZEROS = Buffer.alloc(3);

export class PduConnection {
  readonly #socket: Socket;
  #events: ConnectionEvents;
  readonly #parser: PduParser;
  #headerDigest = false;
  #dataDigest = false;
  #isOpen = false;
  #isOver = false;

  private constructor(host: string, port: number, events: ConnectionEvents) {
    this.#events = events;
    const sink: PduSink = {
      begin: (pdu) => this.#events.begin(pdu),
      take: (pdu, data) => this.#events.take(pdu, data),
    };
    this.#parser = new PduParser(sink, LIMITS.iscsiOtherBytesMax);
    this.#socket = connect({
      host,
      port,
      noDelay: true,
      keepAlive: true,
      // Piece by piece, headers and data apart: copying data costs more than the further call.
      onread: { buffer: () => this.#room(), callback: (count) => this.#take(count) },
    });
    this.#socket.on('error', (error) => this.#end(lost(error)));
    this.#socket.on('end', () => this.#end(lost(new Error('the target closed the connection'))));
    this.#socket.on('close', () => this.#end(lost(new Error('the connection is closed'))));
  }

  /** @throws PenstockError DEVICE_UNREACHABLE */
  static async open(
    host: string,
    port: number,
    timeoutMs: number,
    events: ConnectionEvents,
  ): Promise<PduConnection> {
    const connection = new PduConnection(host, port, events);
    const socket = connection.#socket;
    const failure = await new Promise<Error | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(new Error('no answer in time')), timeoutMs);
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        resolve(error);
      };
      socket.once('connect', () => settle());
      socket.once('error', settle);
    });
    connection.#isOpen = failure === undefined;
    if (failure === undefined) return connection;
    connection.#isOver = true;
    socket.destroy();
    throw new PenstockError('DEVICE_UNREACHABLE', `${host}:${port}: ${failure.message}`, {
      cause: failure,
    });
  }

  /** From the next PDU on others are told: the session after its login. */
  handOver(events: ConnectionEvents): void {
    this.#events = events;
  }

  /** What holds from the next PDU on, both ways. */
  configure(headerDigest: boolean, dataDigest: boolean, receiveBytesMax: number): void {
    this.#headerDigest = headerDigest;
    this.#dataDigest = dataDigest;
    this.#parser.configure(headerDigest, dataDigest, receiveBytesMax);
  }

  /** Memory for the header of a PDU that is to be sent. */
  newHeader(): Buffer {
    return Buffer.allocUnsafe(BHS_BYTES);
  }

  /** Between these, PDUs are handed to the system at once. */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  send(header: Buffer, data?: Uint8Array): void {
    if (this.#isOver) return;
    const socket = this.#socket;
    socket.cork();
    socket.write(header);
    if (this.#headerDigest) socket.write(digestOf(crc32cOf(header, 0)));
    if (data !== undefined && data.length > 0) {
      socket.write(data);
      const padding = ZEROS.subarray(0, paddingOf(data.length));
      if (padding.length > 0) socket.write(padding);
      if (this.#dataDigest) socket.write(digestOf(crc32cOf(padding, crc32cOf(data, 0))));
    }
    socket.uncork();
  }

  /** Bytes that the system has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Ends it at once; `ended` is not called. */
  destroy(): void {
    this.#isOver = true;
    this.#socket.destroy();
  }

  #room(): Uint8Array {
    return this.#isOver ? Buffer.alloc(BHS_BYTES) : this.#parser.room();
  }

  #take(bytes: number): boolean {
    if (this.#isOver) return true;
    this.#events.heard();
    try {
      this.#parser.filled(bytes);
    } catch (thrown) {
      this.#end(toPenstockError(thrown));
    }
    return true;
  }

  #end(error: PenstockError): void {
    if (this.#isOver || !this.#isOpen) return;
    this.destroy();
    this.#events.ended(error);
  }
}

function lost(error: Error): PenstockError {
  return new PenstockError('DEVICE_LOST', error.message, { cause: error });
}

function digestOf(crc: number): Buffer {
  const digest = Buffer.allocUnsafe(DIGEST_BYTES);
  digest.writeUInt32LE(crc);
  return digest;
}
