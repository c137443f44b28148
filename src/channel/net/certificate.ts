/**
 * Makes the self-signed certificate of a machine. Apart from identity.ts, since the package that
 * writes certificates takes long to load and is needed once in a machine's life.
 *
 * Contract: the certificate says nothing about the machine (no name, no address): whoever connects
 * is shown it. It is only ever trusted by its fingerprint, so its dates and extensions do not matter.
 */
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { openRandom } from '../../host/mod.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const YEARS = 20;
const YEAR_MS = 365.25 * 86_400_000;
const SERIAL_BYTES = 16;

/** A self-signed certificate as PEM for an ECDSA P-256 key in PEM. */
export async function makeCertificate(keyPem: string, nowMs: number): Promise<string> {
  // What the package's own dependency asks to be loaded before it.
  await import('reflect-metadata');
  const { X509CertificateGenerator } = await import('@peculiar/x509');
  const privateKey = createPrivateKey(keyPem);
  const der = (type: 'pkcs8' | 'spki'): Uint8Array<ArrayBuffer> => {
    const bytes =
      type === 'pkcs8'
        ? privateKey.export({ type, format: 'der' })
        : createPublicKey(privateKey).export({ type, format: 'der' });
    return new Uint8Array(bytes);
  };
  const { subtle } = webcrypto;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: openRandom().bytes(SERIAL_BYTES).toString('hex'),
    name: 'CN=penstock',
    // A client's clock may be behind.
    notBefore: new Date(nowMs - YEAR_MS),
    notAfter: new Date(nowMs + YEARS * YEAR_MS),
    signingAlgorithm: ALGORITHM,
    keys: {
      privateKey: await subtle.importKey('pkcs8', der('pkcs8'), ALGORITHM, true, ['sign']),
      publicKey: await subtle.importKey('spki', der('spki'), ALGORITHM, true, ['verify']),
    },
    extensions: [],
  });
  return certificate.toString('pem');
}
