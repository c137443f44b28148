/**
 * A module that is an external command (P7, P10): what reaches it goes to the command's standard input as
 * one stream of bytes, what the command writes to its standard output leaves in full buffers. As a head
 * it only writes, as a tail it only reads.
 *
 * Contract: runs without a shell, in a process group of its own. Ends well when the command ended with
 * status 0 and all that it wrote has been sent; a command that reads no further but ends so leaves the
 * rest of the input unread. Any other end fails the pipe, with the last words of the command. When the pipe
 * stops, the group is killed. Words and kinds of buffers do not pass a command.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';

export interface ExecOptions {
  /** A program on PATH, or a path. */
  readonly command: string;
  readonly args?: readonly string[];
  /** Default: that of this process. */
  readonly folder?: string;
  /** Added to the environment of this process, without its passphrase. */
  readonly environment?: Readonly<Record<string, string>>;
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** Of what the command says on standard error, the end is kept for the message. */
const WORDS_KEPT = 2000;

export default function exec(options: ExecOptions): PipeModule {
  let running: Running | undefined;
  return {
    runAsync: async (context) => {
      running = new Running(options, context);
      await running.run();
    },
    abort: () => running?.kill(),
  };
}

class Running {
  readonly #options: ExecOptions;
  readonly #context: ModuleContext;
  readonly #child: Child;
  readonly #ended: Promise<void>;
  #words = '';

  constructor(options: ExecOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    const { PENSTOCK_PASSPHRASE, PENSTOCK_PASSPHRASE_FILE, ...inherited } = process.env;
    this.#child = spawn(options.command, options.args ?? [], {
      cwd: options.folder,
      env: { ...inherited, ...options.environment },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child.stderr.on('data', (text: Buffer) => {
      this.#words = (this.#words + text.toString('utf8')).slice(-WORDS_KEPT);
    });
    // That it reads no further shows in its status.
    this.#child.stdin.on('error', () => undefined);
    this.#ended = this.#end();
    // Seen where it is awaited; meanwhile it must not end the thread.
    this.#ended.catch(() => undefined);
  }

  async run(): Promise<void> {
    const { segment, stage } = this.#context;
    const number = segment.config.stages.findIndex(({ name }) => name === stage);
    const role = must(segment.topology.roles[number], 'a stage has a role');
    const isFirst = role === 'head' || role === 'whole';
    if (isFirst) this.#child.stdin.end();
    const output = role === 'tail' ? this.#child.stdout.resume() : this.#send();
    const input = isFirst ? undefined : this.#receive();
    await Promise.all([output, input, this.#ended]);
  }

  /** Ends the command and what it has started. */
  kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null)
      return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }

  async #end(): Promise<void> {
    const { command } = this.#options;
    let status: readonly [number | null, NodeJS.Signals | null];
    try {
      status = (await once(this.#child, 'close')) as [number | null, NodeJS.Signals | null];
    } catch (thrown) {
      const reason = (thrown as Error).message;
      throw new PenstockError('COMMAND_FAILED', `cannot start ${command}: ${reason}`, {
        subject: command,
        cause: thrown,
      });
    }
    const [code, signal] = status;
    if (code === 0) return;
    const how = signal === null ? `status ${code}` : signal;
    const words = this.#words.trim();
    const message = `${command} ended with ${how}${words === '' ? '' : `: ${words}`}`;
    throw new PenstockError('COMMAND_FAILED', message, { subject: command });
  }

  async #receive(): Promise<void> {
    const { stdin } = this.#child;
    for (;;) {
      const buffer = await this.#context.receiveBufLater();
      if (buffer === null) break;
      if (buffer.length > 0 && stdin.writable) await this.#write(buffer);
      this.#context.freeBuf(buffer);
    }
    stdin.end();
  }
  /** The buffer is this module's until the bytes have gone. */
  #write(buffer: PipeBuffer): Promise<void> {
    const bytes = buffer.payload().subarray(0, buffer.length);
    return new Promise((resolve) => this.#child.stdin.write(bytes, () => resolve()));
  }

  async #send(): Promise<void> {
    const context = this.#context;
    let buffer: PipeBuffer | undefined;
    for await (const chunk of this.#child.stdout as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) {
        buffer ??= await context.allocBufLater();
        const room = Math.min(buffer.payloadCapacity - buffer.length, chunk.length - at);
        chunk.copy(buffer.memory, buffer.payloadOffset + buffer.length, at, at + room);
        buffer.length += room;
        at += room;
        if (buffer.length < buffer.payloadCapacity) continue;
        context.sendBuf(buffer);
        buffer = undefined;
      }
    }
    if (buffer !== undefined) context.sendBuf(buffer);
  }
}
