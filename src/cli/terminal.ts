/**
 * Asks for secrets on the terminal that the process belongs to, without echo.
 *
 * Contract: uses /dev/tty, so that standard input and output stay free for data. While open the
 * terminal is in raw mode; it is put back by `close`, and also when the process is ended at once.
 * Ctrl-C ends the question with the reason of the signal. What is typed ahead is kept for the next
 * question. Bytes are never turned into strings, so that they can be filled with zeros.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

export interface TerminalSettings {
  readonly signal: AbortSignal;
  /** Called when Ctrl-C is typed; is expected to abort `signal`. */
  interrupt(): void;
  onHardExit(callback: () => void): () => void;
}

export interface Terminal {
  /** Shows the prompt and reads one line, without its end. */
  ask(prompt: string): Promise<Buffer>;
  say(text: string): void;
  close(): void;
}

const KEY = {
  interrupt: 0x03,
  endOfInput: 0x04,
  backspace: 0x08,
  newLine: 0x0a,
  enter: 0x0d,
  eraseLine: 0x15,
  escape: 0x1b,
  delete: 0x7f,
} as const;

/** Opens the process's terminal; undefined if it has none. */
export function openTerminal(settings: TerminalSettings): Terminal | undefined {
  const descriptors: number[] = [];
  let input: ReadStream;
  try {
    descriptors.push(openSync('/dev/tty', constants.O_WRONLY | constants.O_NOCTTY));
    descriptors.push(openSync('/dev/tty', constants.O_RDONLY | constants.O_NOCTTY));
    input = new ReadStream(descriptors[1] ?? -1);
  } catch {
    for (const descriptor of descriptors) closeSync(descriptor);
    return undefined;
  }
  return new TtyTerminal(input, descriptors[0] ?? -1, settings);
}

class TtyTerminal implements Terminal {
  readonly #input: ReadStream;
  /** Written to synchronously, on a description of its own. */
  readonly #output: number;
  readonly #signal: AbortSignal;
  readonly #interrupt: () => void;
  readonly #forget: () => void;
  readonly #line: LineEditor = new LineEditor();
  /** Typed ahead. */
  #waiting: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(input: ReadStream, output: number, settings: TerminalSettings) {
    this.#input = input;
    this.#output = output;
    this.#signal = settings.signal;
    this.#interrupt = () => settings.interrupt();
    this.#input.setRawMode(true);
    this.#forget = settings.onHardExit(() => this.#input.setRawMode(false));
    this.#input.on('data', (data: Buffer) => {
      const waiting = this.#waiting;
      this.#waiting = Buffer.concat([waiting, data]);
      waiting.fill(0);
      data.fill(0);
      this.#wake?.();
    });
    const end = (): void => {
      this.#ended = true;
      this.#wake?.();
    };
    this.#input.on('error', end).on('end', end);
  }

  async ask(prompt: string): Promise<Buffer> {
    this.#write(prompt);
    const wake = (): void => this.#wake?.();
    this.#signal.addEventListener('abort', wake);
    try {
      for (;;) {
        this.#signal.throwIfAborted();
        const line = this.#takeTyped();
        if (line !== undefined) return line;
        if (this.#ended) throw new PenstockError('PASSPHRASE_MISSING', 'the terminal went away');
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      this.#signal.removeEventListener('abort', wake);
      this.#write('\r\n');
    }
  }

  say(text: string): void {
    this.#write(`${text}\r\n`);
  }

  close(): void {
    this.#forget();
    this.#waiting.fill(0);
    this.#line.clear();
    this.#input.setRawMode(false);
    this.#input.destroy();
    closeSync(this.#output);
  }

  #write(text: string): void {
    try {
      writeSync(this.#output, text);
    } catch {
      // The terminal went away: reading from it says so.
    }
  }

  /** Feeds what was typed to the line; returns the line once it is complete. */
  #takeTyped(): Buffer | undefined {
    const typed = this.#waiting;
    for (let at = 0; at < typed.length; at++) {
      const key = typed[at] ?? 0;
      if (key === KEY.interrupt) {
        this.#interrupt();
        this.#signal.throwIfAborted();
      }
      const isEnd = key === KEY.enter || key === KEY.newLine;
      if (!isEnd && !(key === KEY.endOfInput && this.#line.isEmpty)) {
        this.#line.type(key);
        continue;
      }
      if (key === KEY.endOfInput) {
        throw new PenstockError('PASSPHRASE_MISSING', 'no passphrase was typed');
      }
      this.#waiting = Buffer.from(typed.subarray(at + 1));
      typed.fill(0);
      return this.#line.take();
    }
    typed.fill(0);
    this.#waiting = Buffer.alloc(0);
    return undefined;
  }
}

/** A line that is being typed, as bytes. */
export class LineEditor {
  readonly #bytes: Buffer = Buffer.alloc(LIMITS.passphraseBytesMax);
  #length = 0;
  #escape: 'none' | 'begun' | 'sequence' = 'none';

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** Adds a byte, or does what a control key asks for; cursor and function keys do nothing. */
  type(key: number): void {
    if (this.#isInEscape(key)) return;
    if (key === KEY.backspace || key === KEY.delete) this.#eraseCharacter();
    else if (key === KEY.eraseLine) this.clear();
    else if (key >= 0x20 && this.#length < this.#bytes.length) this.#bytes[this.#length++] = key;
  }

  /** The line; a new one begins. */
  take(): Buffer {
    const line = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.clear();
    return line;
  }

  clear(): void {
    this.#bytes.fill(0);
    this.#length = 0;
    this.#escape = 'none';
  }

  /** Escape, then `[` or `O`, then parameters up to a letter or `~`. */
  #isInEscape(key: number): boolean {
    if (this.#escape === 'none') {
      if (key !== KEY.escape) return false;
      this.#escape = 'begun';
    } else if (this.#escape === 'begun') {
      const isSequence = key === 0x5b || key === 0x4f;
      this.#escape = isSequence ? 'sequence' : 'none';
      return isSequence;
    } else if (key >= 0x40 && key <= 0x7e) this.#escape = 'none';
    return true;
  }

  /** One character of UTF-8: its continuation bytes and its first one. */
  #eraseCharacter(): void {
    while (this.#length > 0) {
      const last = this.#bytes[--this.#length] ?? 0;
      this.#bytes[this.#length] = 0;
      if ((last & 0xc0) !== 0x80) return;
    }
  }
}
