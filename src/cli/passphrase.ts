/**
 * Where passphrases come from: the environment, a file, or the terminal without echo.
 *
 * Contract: variables with passphrases are taken out of process.env when the source is made, before
 * any worker or child starts, so that none inherits them. A passphrase is bytes, returned in a
 * Buffer of its own that the caller fills with zeros after use. Without a passphrase and without a
 * terminal the call fails with PASSPHRASE_MISSING. It never appears in messages.
 */
import { type ByteString, toBytes, toDisplay } from '../base/bytes.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Output } from './output.ts';
import { readSecretFile } from './secret-file.ts';

/** What a command asks for passphrases. `subject` names the repository in the prompt. */
export interface PassphraseSource {
  /** True when `current` asks a person, who may be asked again after a wrong answer. */
  readonly interactive: boolean;
  /** The passphrase that opens a repository that is there. */
  current(subject: ByteString): Promise<Buffer>;
  /** The passphrase of a repository that is being made: asked for twice. */
  initial(subject: ByteString): Promise<Buffer>;
  /** A passphrase to add or to change to: PENSTOCK_NEW_PASSPHRASE, or asked for twice. */
  additional(subject: ByteString): Promise<Buffer>;
}

export interface PassphraseSettings {
  /** The variables are removed from it. */
  readonly environment: Record<string, string | undefined>;
  readonly variable: (name: string) => ByteString | undefined;
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Called when Ctrl-C is typed at a prompt. */
  interrupt(): void;
  onHardExit(callback: () => void): () => void;
}

/** One passphrase of the environment: given itself or by the name of a file. */
interface Given {
  readonly variable: string;
  readonly value: ByteString | undefined;
  readonly file: ByteString | undefined;
}

/** Takes the passphrases out of the environment; nothing is read or asked for yet. */
export function takePassphrases(settings: PassphraseSettings): PassphraseSource {
  const given = take(settings, 'PENSTOCK_PASSPHRASE');
  const added = take(settings, 'PENSTOCK_NEW_PASSPHRASE');
  return {
    interactive: given.value === undefined && given.file === undefined,
    current: (subject) => obtain(settings, given, `passphrase of ${toDisplay(subject)}`, false),
    initial: (subject) => obtain(settings, given, `passphrase for ${toDisplay(subject)}`, true),
    additional: (subject) =>
      obtain(settings, added, `new passphrase for ${toDisplay(subject)}`, true),
  };
}

function take(settings: PassphraseSettings, variable: string): Given {
  const given = {
    variable,
    value: settings.variable(variable) || undefined,
    file: settings.variable(`${variable}_FILE`) || undefined,
  };
  delete settings.environment[variable];
  delete settings.environment[`${variable}_FILE`];
  return given;
}

async function obtain(
  settings: PassphraseSettings,
  given: Given,
  prompt: string,
  twice: boolean,
): Promise<Buffer> {
  if (given.value !== undefined) return checked(toBytes(given.value), given.variable);
  if (given.file !== undefined) return readPassphraseFile(settings, given, given.file);
  return ask(settings, given.variable, prompt, twice);
}

/** Asks on the terminal; twice for a new one, until both answers agree. */
async function ask(
  settings: PassphraseSettings,
  variable: string,
  prompt: string,
  twice: boolean,
): Promise<Buffer> {
  settings.signal.throwIfAborted();
  const { openTerminal } = await import('./terminal.ts');
  const terminal = openTerminal(settings);
  if (terminal === undefined) {
    throw new PenstockError(
      'PASSPHRASE_MISSING',
      `no passphrase was given and there is no terminal to ask on`,
      {
        hint: `set ${variable} or ${variable}_FILE`,
      },
    );
  }
  try {
    for (;;) {
      const first = await terminal.ask(`${prompt}: `);
      if (first.length === 0) {
        terminal.say('it must not be empty');
        continue;
      }
      if (!twice) return first;
      const second = await terminal.ask('the same again: ');
      const agree = first.equals(second);
      second.fill(0);
      if (agree) return first;
      first.fill(0);
      terminal.say('the two differ; once more');
    }
  } finally {
    terminal.close();
  }
}

function checked(passphrase: Buffer, source: string): Buffer {
  if (passphrase.length === 0) throw new PenstockError('PASSPHRASE_MISSING', `${source} is empty`);
  if (passphrase.length <= LIMITS.passphraseBytesMax) return passphrase;
  passphrase.fill(0);
  throw new PenstockError('LIMIT', `${source} is longer than ${LIMITS.passphraseBytesMax} bytes`);
}

/** Warns where others can read it. */
async function readPassphraseFile(
  settings: PassphraseSettings,
  given: Given,
  file: ByteString,
): Promise<Buffer> {
  const variable = `${given.variable}_FILE`;
  const name = toDisplay(file);
  try {
    const { bytes, isExposed } = await readSecretFile(file, settings.signal);
    if (isExposed) {
      settings.output.warning(`${name} can be read by other users of this machine`, {
        path: file,
        hint: `chmod 600 ${name}`,
      });
    }
    return checked(bytes, `${name} (${variable})`);
  } catch (cause) {
    if (cause instanceof PenstockError) throw cause;
    const { errno, message } = toPenstockError(cause);
    throw new PenstockError('PASSPHRASE_MISSING', `cannot read ${variable}: ${message}`, {
      cause,
      subject: file,
      hint: `check ${name}`,
      ...(errno === undefined ? {} : { errno }),
    });
  }
}
