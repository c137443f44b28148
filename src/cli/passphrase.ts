/**
 * Where passphrases come from: the environment, a file, or the terminal without echo.
 *
 * Contract: variables with passphrases are taken out of process.env when the source is made, before
 * any worker or child starts, so that none inherits them. A passphrase is bytes, returned in a
 * Buffer of its own that the caller fills with zeros after use. Without a passphrase and without a
 * terminal the call fails with PASSPHRASE_MISSING. It never appears in messages.
 */
import type { Output } from './output.ts';

/** What a command asks for passphrases. `subject` names the repository in the prompt. */
export interface PassphraseSource {
  /** True when the answer comes from a person, who may be asked again after a wrong one. */
  readonly interactive: boolean;
  /** The passphrase that opens a repository that is there. */
  current(subject: string): Promise<Buffer>;
  /** The passphrase of a repository that is being made: asked for twice. */
  initial(subject: string): Promise<Buffer>;
  /** A passphrase to add or to change to: PENSTOCK_NEW_PASSPHRASE, or asked for twice. */
  additional(subject: string): Promise<Buffer>;
}

export type { Output };
