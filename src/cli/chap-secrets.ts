/**
 * Where the secrets of CHAP come from: the environment, or files that it names; never arguments.
 *
 *   PENSTOCK_CHAP_SECRET, …_FILE          proves this machine to the target, for the user of the address
 *   PENSTOCK_CHAP_TARGET_SECRET, …_FILE   the target must prove itself with this one
 *   PENSTOCK_CHAP_TARGET_USER             and with this name
 *
 * Contract: the variables are taken out of the environment when the secrets are, so that no child inherits
 * them. Secrets appear in no message.
 */
import { type ByteString, fromText, toBytes } from '../base/bytes.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ChapSource } from '../scsi/iscsi-chap.ts';
import { readSecretFile } from './secret-file.ts';

type Environment = Record<string, string | undefined>;

const SECRET = 'PENSTOCK_CHAP_SECRET';
const TARGET_SECRET = 'PENSTOCK_CHAP_TARGET_SECRET';
const TARGET_USER = 'PENSTOCK_CHAP_TARGET_USER';

/** Takes the secrets out of the environment; files are read when a secret is asked for. */
export function takeChapSecrets(
  environment: Environment = process.env,
  signal: AbortSignal = new AbortController().signal,
): ChapSource {
  const own = take(environment, SECRET);
  const target = take(environment, TARGET_SECRET);
  const targetUser = environment[TARGET_USER] || undefined;
  return async (user) => {
    if (user === undefined) return undefined;
    const secret = await secretOf(SECRET, own, signal);
    if (secret === undefined) {
      throw new PenstockError(
        'USAGE',
        `the address names the user ${user}, and there is no secret`,
        {
          hint: `put the secret into a file, and its name into ${SECRET}_FILE`,
        },
      );
    }
    const theirs = await secretOf(TARGET_SECRET, target, signal);
    if (theirs === undefined) return { user, secret };
    const name = targetUser === undefined ? {} : { user: targetUser };
    return { user, secret, target: { ...name, secret: theirs } };
  };
}

interface Given {
  readonly value: string | undefined;
  readonly file: ByteString | undefined;
}

function take(environment: Environment, variable: string): Given {
  const file = environment[`${variable}_FILE`] || undefined;
  const value = environment[variable] || undefined;
  delete environment[variable];
  delete environment[`${variable}_FILE`];
  return { value, file: file === undefined ? undefined : fromText(file) };
}

async function secretOf(
  variable: string,
  { value, file }: Given,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  if (value === undefined && file === undefined) return undefined;
  const secret =
    file === undefined ? toBytes(fromText(value ?? '')) : await read(variable, file, signal);
  if (secret.length === 0 || secret.length > LIMITS.chapSecretBytesMax) {
    const bounds = `1 to ${LIMITS.chapSecretBytesMax} bytes`;
    throw new PenstockError('USAGE', `the secret of ${variable} must have ${bounds}`);
  }
  return secret;
}

async function read(variable: string, file: ByteString, signal: AbortSignal): Promise<Buffer> {
  try {
    return (await readSecretFile(file, signal)).bytes;
  } catch (cause) {
    const { message } = toPenstockError(cause);
    throw new PenstockError('USAGE', `cannot read ${variable}_FILE: ${message}`, { cause });
  }
}
