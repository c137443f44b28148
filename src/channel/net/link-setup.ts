/**
 * How a data connection comes about: TCP, preamble, TLS 1.3 with pinned certificates, one-time token.
 *
 *   connecting side                     accepting side
 *   preamble (clear)          ──▶       the data port reads it and hands the socket to the agent's thread
 *                             ◀──       ADMITTED, one byte
 *   TLS 1.3, both with certificates, each looking for the one fingerprint that it expects
 *   token (TLS)               ──▶       compared; used up
 *                             ◀──       the first frame: the connection is up
 *
 * Contract: before the byte ADMITTED the connecting side sends nothing but the preamble, so that the data
 * port cannot read what belongs to TLS. Whatever is wrong ends the connection without a word. Each
 * set-up ends within LIMITS.linkSetupMs.
 */
import { timingSafeEqual } from 'node:crypto';
import { connect as connectTcp, type Socket, Socket as TcpSocket } from 'node:net';
import { connect as connectTls, type SecureContext, TLSSocket } from 'node:tls';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { ADMITTED, type Preamble, TOKEN_BYTES, tokenOf, writePreamble } from './frame.ts';
import type { Identity } from './identity.ts';
import { checkPinned, clientTls } from './pinned-tls.ts';

/** What an agent's thread needs to know of both sides: plain data. */
export interface LinkIdentity extends Identity {
  /** Of the other side's certificate. */
  readonly peerFingerprint: string;
}

/** A connection that is up, and bytes that came behind the token. */
export interface ReadyLink {
  readonly socket: Socket;
  readonly rest: Buffer;
}

export interface LinkTarget {
  readonly host: string;
  readonly port: number;
  readonly localAddress: string | undefined;
}

/** Connects as an agent; the socket is up once the first frame comes. */
export async function connectLink(
  target: LinkTarget,
  identity: LinkIdentity,
  context: SecureContext,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<ReadyLink> {
  const { host, port, localAddress } = target;
  const raw = connectTcp({
    host,
    port,
    noDelay: true,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  return guarded(raw, signal, async () => {
    await happens(raw, 'connect');
    raw.write(writePreamble(preamble));
    const [admitted] = await read(raw, 1);
    if (admitted !== ADMITTED) throw setupError('it was answered wrongly');
    const socket = connectTls({
      socket: raw,
      ...clientTls(identity),
      secureContext: context,
    });
    socket.on('error', () => {});
    await happens(socket, 'secureConnect');
    checkPinned(socket, identity.peerFingerprint, 'who is at the other end of a data connection');
    socket.write(tokenOf(secret, preamble));
    return { socket, rest: Buffer.alloc(0) };
  });
}

/** Takes over a socket whose preamble was read, by its descriptor, which belongs to it from now on. */
export async function acceptLink(
  descriptor: number,
  identity: LinkIdentity,
  context: SecureContext,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<ReadyLink> {
  const raw = new TcpSocket({ fd: descriptor, readable: true, writable: true });
  return guarded(raw, signal, async () => {
    raw.setNoDelay(true);
    raw.write(Uint8Array.of(ADMITTED));
    const socket = new TLSSocket(raw, {
      isServer: true,
      secureContext: context,
      requestCert: true,
      // The fingerprint decides.
      rejectUnauthorized: false,
    });
    socket.on('error', () => {});
    await happens(socket, 'secure');
    checkPinned(socket, identity.peerFingerprint, 'who is at the other end of a data connection');
    return { socket, rest: await shownToken(socket, secret, preamble) };
  });
}

/**
 * Takes over a stream of shared connections. One of ours has sent its token, and is up when the first frame
 * comes; one of theirs has to show it.
 */
export async function acceptShared(
  descriptor: number,
  whose: 'ours' | 'theirs',
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<ReadyLink> {
  const socket = new TcpSocket({ fd: descriptor, readable: true, writable: true });
  return guarded(socket, signal, async () => {
    if (whose === 'ours') return { socket, rest: await read(socket, 1) };
    socket.write(Uint8Array.of(ADMITTED));
    return { socket, rest: await shownToken(socket, secret, preamble) };
  });
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

/** Reads a token and compares it; gives what came behind it. */
async function shownToken(socket: Socket, secret: Uint8Array, preamble: Preamble): Promise<Buffer> {
  const bytes = await read(socket, TOKEN_BYTES);
  const token = bytes.subarray(0, TOKEN_BYTES);
  if (!timingSafeEqual(token, tokenOf(secret, preamble))) throw setupError('its token is wrong');
  return bytes.subarray(TOKEN_BYTES);
}

/** Runs a set-up that ends the socket when it fails, takes too long, or is called off. */
async function guarded(
  raw: Socket,
  signal: AbortSignal,
  setUp: () => Promise<ReadyLink>,
): Promise<ReadyLink> {
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

function setupError(message: string): PenstockError {
  return new PenstockError('NET_UNREACHABLE', `a data connection did not come about: ${message}`);
}

/** Resolves with the event; rejects if the socket closes before. */
function happens(socket: Socket, event: string): Promise<void> {
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

/** At least so many bytes; the socket is paused afterwards. */
function read(socket: Socket, wanted: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    const closed = (): void => reject(setupError('it was ended'));
    const more = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length < wanted) return;
      socket.off('data', more);
      socket.off('close', closed);
      socket.off('end', closed);
      socket.pause();
      resolve(bytes);
    };
    if (socket.destroyed) closed();
    socket.on('data', more);
    socket.once('close', closed);
    socket.once('end', closed);
  });
}
