/**
 * Runs one command line: parse, prepare the invocation, load the command, handle what it throws.
 *
 * Contract: returns the exit status (U4) and never throws. Whatever happens, the output is closed,
 * so that with --json the last line is the summary. Passphrases are taken out of the environment
 * before any command's code is loaded. Nothing is loaded that the command does not need.
 */
import type { ByteString } from '../base/bytes.ts';
import { EXIT, PenstockError, toPenstockError } from '../base/errors.ts';
import type { CommandLine } from '../options/command-line.ts';
import type { CommandName, ParsedCommand } from '../options/table.ts';
import { observePipes } from '../pipe/observers.ts';
import { originalVariable } from './arguments.ts';
import { loadCommand } from './commands.ts';
import type { CommandModule, Invocation } from './invocation.ts';
import { Output, type OutputStream } from './output.ts';
import { takePassphrases } from './passphrase.ts';
import { endProcess, Interruption } from './signals.ts';
import { defaultRepoUrl, defaultStateDirectory } from './state.ts';

/** The world around a command line; tests give their own. */
export interface CommandLineHost {
  readonly args: readonly ByteString[];
  /** Passphrases are removed from it. */
  readonly environment: NodeJS.ProcessEnv;
  /** Started by the launcher, which passed its arguments on. */
  readonly launched: boolean;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly load?: (name: CommandName) => Promise<CommandModule<never>>;
}

/** Runs what `host.args` say; resolves to the exit status once all output is out. */
export async function runCommandLine(host: CommandLineHost): Promise<number> {
  const variable = (name: string): ByteString | undefined =>
    originalVariable(host.environment, name, host.launched);
  try {
    const read = await readArguments(host.args);
    if (read.kind === 'version') return await showVersion(host);
    if (read.kind === 'help') return await showHelp(host, read);
    const { parseCommand } = await import('../options/parse.ts');
    return await runParsed(host, parseCommand(read.raw, variable, Date.now()), variable);
  } catch (error) {
    return failEarly(host, error);
  }
}

/** `--version` alone is answered without loading the parser. */
async function readArguments(args: readonly ByteString[]): Promise<CommandLine> {
  if (args.length === 1 && (args[0] === '--version' || args[0] === '-V'))
    return { kind: 'version' };
  const { readCommandLine } = await import('../options/command-line.ts');
  return readCommandLine(args);
}

async function runParsed(
  host: CommandLineHost,
  parsed: ParsedCommand,
  variable: (name: string) => ByteString | undefined,
): Promise<number> {
  const interruption = new Interruption((text) => output.urgent(text));
  const output = openOutput(host, parsed.options, (error) => interruption.stop(error));
  const endings = [interruption.listen(), endOnDefects(output, interruption)];
  const onHardExit = (callback: () => void): (() => void) => interruption.onHardExit(callback);
  const { repo } = parsed.options;
  const invocation: Invocation = {
    ...parsed,
    output,
    signal: interruption.signal,
    // Some commands have a --repo of their own.
    repoUrl: typeof repo === 'string' ? repo : defaultRepoUrl(variable),
    stateDirectory: parsed.options.state ?? defaultStateDirectory(variable),
    passphrases: takePassphrases({
      environment: host.environment,
      variable,
      output,
      signal: interruption.signal,
      interrupt: () => interruption.stop(new PenstockError('INTERRUPTED', 'interrupted')),
      onHardExit,
    }),
    nowMs: () => Date.now(),
    onHardExit,
  };
  endings.push(announcePipes(invocation));
  let exit: number;
  try {
    const module = await (host.load?.(parsed.command) ?? loadCommand(parsed));
    exit = statusOf(await module.default(invocation as never), output);
  } catch (thrown) {
    exit = report(output, thrown, interruption.signal);
  }
  await output.close(exit);
  for (const end of endings) end();
  const { lost } = output;
  if (lost === undefined || lost.errno === 'EPIPE') return exit;
  output.error(lost);
  return lost.exit;
}

/** The one place where something that was left out becomes the exit status. */
function statusOf(exit: number, { problems }: Output): number {
  return exit === EXIT.ok && problems > 0 ? EXIT.partial : exit;
}

/** Has this machine's monitor show the pipes of a command, if one runs. */
function announcePipes({ command, stateDirectory }: Invocation): () => void {
  // The monitor itself knows its pipes.
  if (command === 'serve') return () => {};
  return observePipes((pipe) => {
    import('../monitor/announce.ts')
      .then(({ announcePipe }) => announcePipe(stateDirectory, pipe, command))
      // The pipe does not depend on it.
      .catch(() => {});
  });
}

/**
 * A defect outside the command's own flow (a callback, a promise that nobody awaits): nothing can
 * be relied on any more, so what is registered is cleaned up and the process ends: always safe.
 */
function endOnDefects(output: Output, interruption: Interruption): () => void {
  const end = (thrown: unknown): void => {
    const error = new PenstockError('INTERNAL', toPenstockError(thrown).message, { cause: thrown });
    if (thrown instanceof Error && thrown.stack !== undefined) error.stack = thrown.stack;
    output.error(error);
    void output.close(EXIT.failed);
    interruption.runHardExits();
    endProcess(EXIT.failed);
  };
  process.on('uncaughtException', end);
  return () => process.off('uncaughtException', end);
}

/** Reports what a command threw; returns the exit status. */
function report(output: Output, thrown: unknown, signal: AbortSignal): number {
  const error = causeOfEnd(thrown, signal);
  // Lost output is reported at the end, or not at all: `penstock ls … | head` ends quietly.
  if (error !== output.lost) output.error(error);
  return error.exit;
}

/** After an interruption, errors that are only its consequence are reported as the interruption. */
function causeOfEnd(thrown: unknown, signal: AbortSignal): PenstockError {
  const error = toPenstockError(thrown);
  const isConsequence =
    error.code === 'PIPE_STOPPED' ||
    error.code === 'INTERRUPTED' ||
    (thrown instanceof Error && thrown.name === 'AbortError');
  return signal.aborted && isConsequence ? toPenstockError(signal.reason) : error;
}

interface Modes {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly noColor: boolean;
}

function openOutput(
  host: CommandLineHost,
  modes: Modes,
  onOutputLost: (error: PenstockError) => void = () => {},
): Output {
  const { NO_COLOR, TERM } = host.environment;
  return new Output({
    ...modes,
    noColor: modes.noColor || (NO_COLOR !== undefined && NO_COLOR !== ''),
    stdout: host.stdout,
    stderr: host.stderr,
    dumbTerminal: TERM === 'dumb' || TERM === undefined || TERM === '',
    clockMs: () => performance.now(),
    onOutputLost,
  });
}

/** Before the command line is understood: its modes are guessed from what was typed. */
function guessModes(args: readonly string[]): Modes {
  return {
    json: args.includes('--json'),
    quiet: false,
    verbose: args.includes('--verbose') || args.includes('-v'),
    noColor: args.includes('--no-color'),
  };
}

async function failEarly(host: CommandLineHost, thrown: unknown): Promise<number> {
  const output = openOutput(host, guessModes(host.args));
  output.error(thrown);
  const { exit } = toPenstockError(thrown);
  await output.close(exit);
  return exit;
}

async function showVersion(host: CommandLineHost): Promise<number> {
  const { programVersion } = await import('./version.ts');
  return showText(host, `penstock ${programVersion()}\n`, EXIT.ok);
}

async function showHelp(
  host: CommandLineHost,
  { topic, exit }: Extract<CommandLine, { kind: 'help' }>,
): Promise<number> {
  const { helpText } = await import('../options/help.ts');
  const columns = (exit === EXIT.ok ? host.stdout : host.stderr).columns || 100;
  return showText(host, `${helpText(topic, columns) ?? ''}\n`, exit);
}

/** Help that was asked for is a result; help in place of a command is a message. */
async function showText(host: CommandLineHost, text: string, exit: number): Promise<number> {
  const output = openOutput(host, { json: false, quiet: false, verbose: false, noColor: true });
  if (exit === EXIT.ok) output.line(text.trimEnd());
  else output.urgent(text.trimEnd());
  await output.close(exit);
  return exit;
}
