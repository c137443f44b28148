/**
 * A machine's own key and certificate, by which other machines know it.
 *
 * Contract: made at the first call and the same ever after; of two processes that make it at once
 * both get the same one. The key never leaves the state folder but into threads of this process:
 * an Identity is plain text that can be cloned.
 */
import { createHash, createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { PenstockError } from '../../base/errors.ts';
import { type Clock, openClock } from '../../host/clock.ts';
import type { StateFolder } from './state-folder.ts';

export interface Identity {
  /** SHA-256 of the certificate's DER form, hexadecimal, lower case. */
  readonly fingerprint: string;
  readonly certPem: string;
  readonly keyPem: string;
}

const KEY_FILE = 'identity.key';
const CERTIFICATE_FILE = 'identity.crt';

/**
 * Reads the identity of a state folder, making it where there is none.
 *
 * @throws FORMAT (the files are damaged), HOST_IO
 */
export async function openIdentity(
  state: StateFolder,
  clock: Clock = openClock(),
): Promise<Identity> {
  const keyPem = ownFile(state, KEY_FILE, newKey);
  let certPem = state.read(CERTIFICATE_FILE)?.toString('latin1');
  if (certPem === undefined) {
    const { makeCertificate } = await import('./certificate.ts');
    const made = await makeCertificate(keyPem, clock.nowMs());
    certPem = ownFile(state, CERTIFICATE_FILE, () => made);
  }
  return { fingerprint: checkedFingerprint(state, certPem, keyPem), certPem, keyPem };
}

/** The fingerprint of a certificate in DER form. */
export function fingerprintOf(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}

/** What the file says; where it is missing it is made, by whoever comes first. */
function ownFile(state: StateFolder, name: string, make: () => string): string {
  const there = state.read(name);
  if (there !== undefined) return there.toString('latin1');
  state.create(name, Buffer.from(make(), 'latin1'));
  return state.read(name)?.toString('latin1') ?? '';
}

function newKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function checkedFingerprint(state: StateFolder, certPem: string, keyPem: string): string {
  try {
    const certificate = new X509Certificate(certPem);
    if (certificate.checkPrivateKey(createPrivateKey(keyPem)))
      return fingerprintOf(certificate.raw);
  } catch {
    // Told below.
  }
  throw new PenstockError(
    'FORMAT',
    `${KEY_FILE} and ${CERTIFICATE_FILE} in ${state.path} are no key and its certificate`,
    {
      subject: state.path,
      hint: 'restore both from a copy, or remove both: this machine must then be paired again',
    },
  );
}
