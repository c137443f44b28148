/**
 * How a connection that pipes share comes about (shared-thread.ts): as link-setup.ts says, but with TLS 1.3 and pinned
 * certificates in the place of nonce and proofs, and a token that is good once.
 *
 *   connecting side                     accepting side
 *   preamble (clear)          ──▶       the data port reads it and hands the socket over
 *                             ◀──       ADMITTED, one byte
 *   TLS 1.3, both with certificates, each looking for the one fingerprint that it expects
 *   token (TLS)               ──▶       compared; used up
 */
import { timingSafeEqual } from 'node:crypto';
import { type Socket, Socket as TcpSocket } from 'node:net';
import { connect as connectTls, type SecureContext, TLSSocket } from 'node:tls';
import { ADMITTED, type Preamble, TOKEN_BYTES, tokenOf } from './frame.ts';
import type { Identity } from './identity.ts';
import {
  admit,
  dial,
  guarded,
  happens,
  type LinkTarget,
  readBytes,
  setupError,
} from './link-setup.ts';
import { checkPinned, clientTls } from './pinned-tls.ts';

/** What a thread needs to know of both sides: plain data. */
export interface LinkIdentity extends Identity {
  /** Of the other side's certificate. */
  readonly peerFingerprint: string;
}

const WHO = 'who is at the other end of a data connection';

export async function connectTlsLink(
  target: LinkTarget,
  identity: LinkIdentity,
  context: SecureContext,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<Socket> {
  const raw = dial(target);
  return guarded(raw, signal, async () => {
    await admit(raw, preamble);
    const socket = connectTls({ socket: raw, ...clientTls(identity), secureContext: context });
    socket.on('error', () => {});
    await happens(socket, 'secureConnect');
    checkPinned(socket, identity.peerFingerprint, WHO);
    socket.write(tokenOf(secret, preamble));
    return socket;
  });
}

/** Takes over a socket whose preamble was read, by its descriptor; gives what came behind the token, too. */
export async function acceptTlsLink(
  descriptor: number,
  identity: LinkIdentity,
  context: SecureContext,
  secret: Uint8Array,
  preamble: Preamble,
  signal: AbortSignal,
): Promise<{ readonly socket: Socket; readonly rest: Buffer }> {
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
    checkPinned(socket, identity.peerFingerprint, WHO);
    const [token, rest] = await readBytes(socket, TOKEN_BYTES);
    if (!timingSafeEqual(token, tokenOf(secret, preamble))) throw setupError('its token is wrong');
    return { socket, rest };
  });
}
