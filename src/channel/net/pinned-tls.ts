/**
 * TLS between machines that know each other's certificates by fingerprint.
 *
 * Contract: TLS 1.3 only, both sides show a certificate and so prove to have its key; no authority,
 * name or date is looked at. Nothing is written to a server before its fingerprint was compared.
 * Sessions are not resumed: a resumed one would not prove the key again. Fingerprints are compared
 * in constant time.
 */
import { timingSafeEqual } from 'node:crypto';
import type { AgentOptions } from 'node:https';
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls';
import { PenstockError } from '../../base/errors.ts';
import { fingerprintOf, type Identity } from './identity.ts';

const ONLY_TLS_13 = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;
/** `SSL_OP_NO_TICKET`; the constant of node:crypto is typed as optional. */
const NO_TICKETS = 0x4000;

/**
 * How to connect to a server with this fingerprint, for `tls.connect` and `https.Agent`. Until
 * `checkPinned` has passed its socket nothing may be written to it.
 */
export function clientTls(identity: Identity): ConnectionOptions & AgentOptions {
  return {
    ...ONLY_TLS_13,
    key: identity.keyPem,
    cert: identity.certPem,
    // The fingerprint decides, in checkPinned.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    maxCachedSessions: 0,
  };
}

/** Compares what a connected server has shown with what is expected. NET_UNTRUSTED. */
export function checkPinned(socket: TLSSocket, fingerprint: string, address: string): void {
  const shown = peerFingerprint(socket);
  if (shown !== undefined && equalFingerprints(shown, fingerprint)) return;
  throw new PenstockError('NET_UNTRUSTED', `${address} is not the machine that was paired`, {
    subject: address,
    hint: 'if its state folder was made anew, pair again; otherwise somebody is in between',
  });
}

/** How to listen: every client is asked for its certificate, and whoever has it is let in so far. */
export function serverTls(identity: Identity): TlsOptions {
  return {
    ...ONLY_TLS_13,
    key: identity.keyPem,
    cert: identity.certPem,
    requestCert: true,
    rejectUnauthorized: false,
    secureOptions: NO_TICKETS,
  };
}

const fingerprints = new WeakMap<TLSSocket, string>();

/** The fingerprint of the certificate that the other side of a connected socket has shown. */
export function peerFingerprint(socket: TLSSocket): string | undefined {
  const known = fingerprints.get(socket);
  if (known !== undefined) return known;
  const { raw } = socket.getPeerCertificate();
  if (raw === undefined || raw.length === 0) return undefined;
  const fingerprint = fingerprintOf(raw);
  fingerprints.set(socket, fingerprint);
  return fingerprint;
}

export function equalFingerprints(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
