/**
 * What a command's code is given: one value, made by main.ts from the parsed command line.
 *
 * Contract: a command module `src/cli/commands/<name>.ts` (spaces of the name become dashes)
 * exports `default` a `CommandRun<'name'>`. It returns the exit status; it throws a PenstockError
 * to end with that error's status. What it had to leave out it tells by `output.problem`, which by itself
 * makes status 3 of 0. It writes only through `output`, never calls process.exit, and
 * ends soon after `signal` is aborted by throwing `signal.reason`.
 */
import type { ByteString } from '../base/bytes.ts';
import type { CommandName, OptionValues, PositionalValues } from '../options/table.ts';
import type { Output } from './output.ts';
import type { PassphraseSource } from './passphrase.ts';

export interface Invocation<C extends CommandName = CommandName> {
  readonly command: C;
  /** Typed by the table; an option that was not given is undefined, false or an empty array. */
  readonly options: OptionValues<C>;
  readonly positionals: PositionalValues<C>;
  readonly output: Output;
  /** Aborted by the first SIGINT, SIGTERM or SIGHUP, and when standard output went away. */
  readonly signal: AbortSignal;
  /** Where the repository is: a directory or a URL. From --repo, PENSTOCK_REPO or the default. */
  readonly repoUrl: ByteString;
  /** The state folder; made only by `ensureStateDirectory` (state-folder.ts). */
  readonly stateDirectory: ByteString;
  readonly passphrases: PassphraseSource;
  /** The current time of day; passed on so that tests can choose it. */
  nowMs(): number;
  /**
   * Registers what must be done, synchronously and shortly, when the process is ended at once (a
   * second signal): remove a lease, a temporary name. Returns the call that takes it back.
   */
  onHardExit(callback: () => void): () => void;
}

export type CommandRun<C extends CommandName> = (invocation: Invocation<C>) => Promise<number>;

/** A module of src/cli/commands. */
export interface CommandModule<C extends CommandName> {
  readonly default: CommandRun<C>;
}
