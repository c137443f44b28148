/**
 * Output: the only writer of a command.
 *
 * Contract: results (listings) go to standard output, people's messages to standard error. With
 * --json standard output carries one object a line, each with a `type`; the last line is the
 * summary, whatever happened. --quiet leaves results, warnings and errors. Messages never garble
 * the progress line, and control characters in names and messages never reach the terminal. When
 * the reader of standard output goes away, `onOutputLost` is called once and the rest is dropped.
 */
import { type ByteString, toJsonPath } from '../base/bytes.ts';
import { type ErrorCode, PenstockError, toPenstockError } from '../base/errors.ts';
import { Progress, type ProgressSink, type ProgressStyle } from './progress.ts';

/** What is needed of process.stdout and process.stderr. */
export interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(data: string | Uint8Array, done?: (error?: Error | null) => void): boolean;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

export interface OutputSettings {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly noColor: boolean;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** TERM=dumb and the like: no redrawing. */
  readonly dumbTerminal?: boolean;
  /** Monotonic. */
  clockMs(): number;
  /** The reader of standard output went away (EPIPE) or it could not be written. */
  onOutputLost(error: PenstockError): void;
}

/** One line of JSON output. Paths belong in it by `toJsonPath`; no bigint, no undefined needed. */
export interface JsonRecord {
  readonly type: string;
  readonly [key: string]: unknown;
}

export interface WarningDetails {
  readonly code?: ErrorCode;
  /** What it is about, for programs; the message names it for people. */
  readonly path?: ByteString;
  readonly hint?: string;
}

const FLUSH_CHARACTERS = 32 * 1024;
const CLEAR_LINE = '\r\x1b[K';

export class Output implements ProgressSink {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly style: ProgressStyle;
  readonly progress: Progress;
  readonly #settings: OutputSettings;
  readonly #colors: boolean;
  #pending = '';
  #flushPlanned = false;
  #shown = '';
  #lost: PenstockError | undefined;
  #summary: { readonly record: object; readonly text: string } | undefined;
  #problems = 0;
  #raw = false;

  constructor(settings: OutputSettings) {
    this.#settings = settings;
    const { stdout, stderr, json, quiet } = settings;
    this.json = json;
    this.quiet = quiet;
    this.verbose = settings.verbose;
    const terminal = stderr.isTTY === true && settings.dumbTerminal !== true;
    this.#colors = terminal && !settings.noColor;
    this.style = quiet ? 'none' : json ? 'json' : terminal ? 'terminal' : 'log';
    this.progress = new Progress(this);
    stdout.on('error', (error) => this.#lose(error));
    // A log that went away must not end the work.
    stderr.on('error', () => {});
  }

  /** How many problems were told: with any, a command that has done the rest ends with status 3. */
  get problems(): number {
    return this.#problems;
  }

  /** Why standard output can no longer be written, if so; EPIPE: its reader went away. */
  get lost(): PenstockError | undefined {
    return this.#lost;
  }

  /** A result for people, one or more lines of printable text; nothing with --json. */
  line(text: string): void {
    if (!this.json) this.#out(`${text}\n`);
  }

  /** A result for programs; nothing without --json. */
  entry(record: JsonRecord): void {
    if (!this.json) return;
    if (this.#raw) this.#err(JSON.stringify(record));
    else this.#out(`${JSON.stringify(record)}\n`);
  }

  /**
   * Raw bytes of a result (`cat`); resolves when they are taken, rejects when they cannot be.
   * From then on objects of --json go to standard error, so that the bytes stay what they are.
   */
  async writeBytes(bytes: Uint8Array): Promise<void> {
    this.flush();
    this.#raw = true;
    if (this.#lost !== undefined) throw this.#lost;
    await new Promise<void>((resolve, reject) => {
      this.#settings.stdout.write(bytes, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(this.#lose(error));
      });
    });
  }

  /** A message for people that is no result, printable text; not with --quiet or --json. */
  note(text: string): void {
    if (!this.quiet && !this.json) this.#err(text);
  }

  /** Like `note`, only with --verbose. */
  detail(text: string): void {
    if (this.verbose) this.note(text);
  }

  /** Something that people must see whatever the mode is, outside the JSON lines. */
  urgent(text: string): void {
    this.#err(text);
  }

  /**
   * Something was not done that the command was to do: an item that could not be read, written or
   * removed, while the rest goes on. `message` names it. It is shown as a warning, and counts.
   */
  problem(message: string, details: WarningDetails = {}): void {
    this.#problems++;
    this.warning(message, details);
  }

  /** Something that one should know, while everything was done: the exit status stays. */
  warning(message: string, details: WarningDetails = {}): void {
    const { code, path, hint } = details;
    if (this.json) {
      this.entry({
        type: 'warning',
        ...(code === undefined ? {} : { code }),
        message,
        ...(path === undefined ? {} : toJsonPath(path)),
        ...(hint === undefined ? {} : { hint }),
      });
      return;
    }
    this.#err(`${this.#paint('33', 'warning')}: ${printable(message)}`);
    if (hint !== undefined) this.#err(`  hint: ${printable(hint)}`);
  }

  /** The error that ends the command, or one finding of `check`. */
  error(thrown: unknown): void {
    const error = toPenstockError(thrown);
    const stack = this.verbose || error.code === 'INTERNAL' ? error.stack : undefined;
    // Where programs cannot be told any more, people are.
    if (this.json && this.#lost === undefined) {
      this.entry({
        type: 'error',
        code: error.code,
        message: error.message,
        hint: error.hint,
        ...(error.errno === undefined ? {} : { errno: error.errno }),
        ...subjectRecord(error.subject),
        ...(stack === undefined ? {} : { stack }),
      });
      return;
    }
    this.#err(`${this.#paint('31', 'penstock')}: ${printable(error.message)}`);
    this.#err(`  hint: ${printable(error.hint)}`);
    if (this.verbose && error.stack !== undefined) this.#err(error.stack);
  }

  /**
   * What was done, given once, at the end: `record` for programs (its `type` is added), `text` for
   * people. It is written by `close`, as the last line.
   */
  summary(record: Readonly<Record<string, unknown>>, text: string): void {
    this.#summary = { record, text };
  }

  /** Writes the summary and everything that is still held back. Resolves when it is out. */
  async close(exit: number): Promise<void> {
    this.progress.finish();
    if (this.json) this.entry({ type: 'summary', ...this.#summary?.record, exit });
    else if (this.#summary !== undefined && this.#summary.text !== '')
      this.note(this.#summary.text);
    this.flush();
    await drained(this.#settings.stdout);
    await drained(this.#settings.stderr);
  }

  /** Hands over what `line` and `entry` gathered. */
  flush(): void {
    const text = this.#pending;
    this.#pending = '';
    if (text === '' || this.#lost !== undefined) return;
    const { stdout } = this.#settings;
    // Where both are one terminal, results must not be appended to the progress line.
    const hide = this.#shown !== '' && stdout.isTTY === true;
    if (hide) this.#settings.stderr.write(CLEAR_LINE);
    stdout.write(text);
    if (hide) this.#settings.stderr.write(this.#shown);
  }

  /**
   * Hands over what was gathered and waits until the system has taken it: long listings call it now
   * and then, so that a slow reader does not fill the memory, and signals are heard.
   */
  async settled(): Promise<void> {
    this.flush();
    await drained(this.#settings.stdout);
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** The width of the progress line. Some terminals say 0 for unknown. */
  columns(): number {
    return this.#settings.stderr.columns || 80;
  }

  /** The width for results; wide where standard output is no terminal. */
  resultColumns(): number {
    return this.#settings.stdout.columns || 100;
  }

  redraw(text: string): void {
    if (text === this.#shown) return;
    this.#shown = text;
    this.#settings.stderr.write(CLEAR_LINE + text);
  }

  logLine(text: string): void {
    this.#err(text);
  }

  jsonLine(record: JsonRecord): void {
    this.entry(record);
  }

  clockMs(): number {
    return this.#settings.clockMs();
  }

  #out(text: string): void {
    if (this.#lost !== undefined) return;
    this.#pending += text;
    if (this.#pending.length >= FLUSH_CHARACTERS) this.flush();
    else if (!this.#flushPlanned) {
      this.#flushPlanned = true;
      setImmediate(() => {
        this.#flushPlanned = false;
        this.flush();
      });
    }
  }

  #err(text: string): void {
    // Results first, so that both streams on one terminal keep their order.
    this.flush();
    const { stderr } = this.#settings;
    if (this.#shown === '') stderr.write(`${text}\n`);
    else stderr.write(`${CLEAR_LINE}${text}\n${this.#shown}`);
  }

  #paint(color: string, text: string): string {
    return this.#colors ? `\x1b[${color}m${text}\x1b[0m` : text;
  }

  #lose(cause: Error): PenstockError {
    if (this.#lost !== undefined) return this.#lost;
    const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    this.#lost =
      errno === 'EPIPE'
        ? new PenstockError('INTERRUPTED', 'the reader of standard output went away', {
            cause,
            errno,
          })
        : new PenstockError('HOST_IO', `cannot write standard output: ${cause.message}`, {
            cause,
            errno,
          });
    this.#pending = '';
    this.#settings.onOutputLost(this.#lost);
    return this.#lost;
  }
}

/** Control characters as escapes: a file name in a message must not steer the terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** The subject of an error is a ByteString, such as a path, or plain ASCII, such as an id. */
function subjectRecord(subject: ByteString | undefined): Record<string, string> {
  if (subject === undefined) return {};
  const { path, pathBytes } = toJsonPath(subject);
  return { subject: path, ...(pathBytes === undefined ? {} : { subjectBytes: pathBytes }) };
}

function drained(stream: OutputStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}
