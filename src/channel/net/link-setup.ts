/**
 * How a data connection comes about: TCP, preamble, and proofs that both sides have the secret of the half pipe, which
 * the control channel has brought (TLS 1.3 with pinned certificates).
 *
 *   connecting side                     accepting side
 *   preamble (clear)          ──▶       the data port reads it and hands the socket to the agent's thread
 *                             ◀──       ADMITTED, one byte, and a nonce of 32 (clear)
 *   proof                     ──▶       checked
 *   checked                   ◀──       proof: the connection is up, what follows are sealed frames
 *
 * Contract: before the byte ADMITTED the connecting side sends nothing but the preamble, so that the data
 * port cannot read what belongs to the agent. Whatever is wrong ends the connection without a word. Each
 * set-up ends within LIMITS.linkSetupMs. Connections that pipes share have TLS of their own (tls-setup.ts).
 */
import { randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket, Socket as TcpSocket } from 'node:net';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { ADMITTED, type Preamble, writePreamble } from './frame.ts';
import {
  closeLinkCipher,
  type LinkCipher,
  NONCE_BYTES,
  openLinkCipher,
  TAG_BYTES,
} from './link-cipher.ts';

/** A connection that is up, and bytes that came behind the set-up. */
export interface ReadyLink {
  readonly socket: Socket;
  readonly cipher: LinkCipher;
  readonly rest: Buffer;
}

export interface LinkTarget {
  readonly host: string;
  readonly port: number;
  readonly localAddress: string | undefined;
}

/** Connects as an agent. */
export async function connectLink(
  target: LinkTarget,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<ReadyLink> {
  const socket = dial(target);
  return guarded(socket, signal, async () => {
    const rest = await admit(socket, preamble);
    return proveFirst(socket, rest, secret, preamble);
  });
}

/** Takes over a stream of shared connections that this side has begun, and that was admitted. */
export async function joinLink(
  descriptor: number,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<ReadyLink> {
  const socket = new TcpSocket({ fd: descriptor, readable: true, writable: true });
  return guarded(socket, signal, () => proveFirst(socket, Buffer.alloc(0), secret, preamble));
}

/** Takes over a socket whose preamble was read, by its descriptor, which belongs to it from now on. */
export async function acceptLink(
  descriptor: number,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<ReadyLink> {
  const socket = new TcpSocket({ fd: descriptor, readable: true, writable: true });
  return guarded(socket, signal, async () => {
    socket.setNoDelay(true);
    const nonce = randomBytes(NONCE_BYTES);
    socket.write(Buffer.concat([Uint8Array.of(ADMITTED), nonce]));
    const [proof, rest] = await readBytes(socket, TAG_BYTES);
    const cipher = openLinkCipher('accepting', secret, preamble, nonce);
    checkProof(cipher, proof);
    socket.write(cipher.sealer.proof());
    return { socket, cipher, rest };
  });
}

/** The connecting side of the proofs; `rest` has come already. */
async function proveFirst(
  socket: Socket,
  rest: Buffer,
  secret: Uint8Array,
  preamble: Preamble,
): Promise<ReadyLink> {
  const [nonce, behindNonce] = await readBytes(socket, NONCE_BYTES, rest);
  const cipher = openLinkCipher('connecting', secret, preamble, nonce);
  try {
    socket.write(cipher.sealer.proof());
    const [proof, behind] = await readBytes(socket, TAG_BYTES, behindNonce);
    checkProof(cipher, proof);
    return { socket, cipher, rest: behind };
  } catch (thrown) {
    closeLinkCipher(cipher);
    throw thrown;
  }
}

function checkProof(cipher: LinkCipher, proof: Buffer): void {
  if (cipher.opener.isProof(proof)) return;
  closeLinkCipher(cipher);
  throw setupError('the other side does not have its secret');
}

/** Connections that are being accepted. Whoever has overheard a preamble gets as far as this: the oldest gives way. */
export class SetUps {
  readonly #underWay = new Set<AbortController>();

  /** One more; `abort` is told where it has to give way. It is over with `end`. */
  begin(): AbortController {
    const [oldest] = this.#underWay;
    if (oldest !== undefined && this.#underWay.size >= LIMITS.linkSetupsMax) {
      oldest.abort();
      this.#underWay.delete(oldest);
    }
    const cancel = new AbortController();
    this.#underWay.add(cancel);
    return cancel;
  }

  end(cancel: AbortController): void {
    this.#underWay.delete(cancel);
  }
}

export function dial({ host, port, localAddress }: LinkTarget): Socket {
  const from = localAddress === undefined ? {} : { localAddress };
  return connectTcp({ host, port, noDelay: true, ...from });
}

/** Says what a connection is for; gives what came behind the answer that it may go on. */
export async function admit(socket: Socket, preamble: Preamble): Promise<Buffer> {
  await happens(socket, 'connect');
  socket.write(writePreamble(preamble));
  const [[admitted], rest] = await readBytes(socket, 1);
  if (admitted !== ADMITTED) throw setupError('it was answered wrongly');
  return rest;
}

/** Runs a set-up that ends the socket when it fails, takes too long, or is called off. */
export async function guarded<Ready>(
  raw: Socket,
  signal: AbortSignal,
  setUp: () => Promise<Ready>,
): Promise<Ready> {
  const cancel = (): void => {
    raw.destroy();
  };
  raw.on('error', () => {});
  const timer = setTimeout(cancel, LIMITS.linkSetupMs);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    if (signal.aborted) throw setupError('it was called off');
    return await setUp();
  } catch (thrown) {
    raw.destroy();
    throw thrown;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
  }
}

export function setupError(message: string): PenstockError {
  return new PenstockError('NET_UNREACHABLE', `a data connection did not come about: ${message}`);
}

/** Resolves with the event; rejects if the socket closes before. */
export function happens(socket: Socket, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(setupError('it was ended'));
    if (socket.destroyed) closed();
    socket.once('close', closed);
    socket.once('error', (error) => reject(setupError(error.message)));
    socket.once(event, () => {
      socket.off('close', closed);
      resolve();
    });
  });
}

/** So many bytes, the first of which may have come already, and what came behind them; the socket is then paused. */
export function readBytes(
  socket: Socket,
  wanted: number,
  before: Buffer = Buffer.alloc(0),
): Promise<[Buffer, Buffer]> {
  return new Promise((resolve, reject) => {
    let bytes = before;
    const closed = (): void => reject(setupError('it was ended'));
    const enough = (): void => {
      socket.off('data', more);
      socket.off('close', closed);
      socket.off('end', closed);
      socket.pause();
      resolve([bytes.subarray(0, wanted), bytes.subarray(wanted)]);
    };
    const more = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length >= wanted) enough();
    };
    if (bytes.length >= wanted) return enough();
    if (socket.destroyed) closed();
    socket.on('data', more);
    socket.once('close', closed);
    socket.once('end', closed);
    // After a pause it does not begin by itself.
    socket.resume();
  });
}
