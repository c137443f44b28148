/**
 * A program with the real command line and made-up commands, for the tests of the terminal.
 *
 * The behaviour is chosen by PENSTOCK_TEST_BEHAVIOUR; it stands in for whatever command is named.
 */
import { Worker } from 'node:worker_threads';
import { fromText } from '../../src/base/bytes.ts';
import { PenstockError } from '../../src/base/errors.ts';
import { originalArguments } from '../../src/cli/arguments.ts';
import type { CommandModule, Invocation } from '../../src/cli/invocation.ts';
import { runCommandLine } from '../../src/cli/run.ts';
import { endWithin } from '../../src/cli/signals.ts';

type Behaviour = (invocation: Invocation) => Promise<number>;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const BEHAVIOURS: Readonly<Record<string, Behaviour>> = {
  /** Work with progress, warnings and lines among it, for TEST_MS, or until it is stopped. */
  async work({ output, signal }) {
    const totalMs = Number(process.env.TEST_MS ?? 3000);
    output.progress.start('backing up');
    output.note('a note before the work');
    for (let ms = 0; ms < totalMs; ms += 50) {
      if (signal.aborted) {
        await pause(100);
        throw signal.reason;
      }
      output.progress.update({
        bytesDone: ms * 1e6,
        bytesTotal: ms > totalMs / 4 ? totalMs * 1e6 : undefined,
        filesDone: ms,
        path: fromText(`home/me/データ/とても長い名前のフォルダー/and/some/more/file-${ms}.txt`),
      });
      if (ms % 1000 === 500) output.warning(`home/me/secret-${ms}: permission denied`);
      await pause(50);
    }
    output.summary({ files: totalMs }, 'archive 3fa9c1de of work\n  all done');
    return 0;
  },

  /** Does not stop when asked to: a thread is stuck in the system. */
  async stuck({ output, onHardExit }) {
    onHardExit(() => output.urgent('the lease is removed'));
    const fifo = process.env.TEST_FIFO ?? '';
    new Worker(`require('fs').openSync(${JSON.stringify(fifo)}, 'r')`, { eval: true });
    output.urgent('stuck');
    await new Promise(() => {});
    return 0;
  },

  /** Ends, but leaves a stuck thread behind. */
  async straggler() {
    const fifo = process.env.TEST_FIFO ?? '';
    new Worker(`require('fs').openSync(${JSON.stringify(fifo)}, 'r')`, { eval: true });
    return 0;
  },

  async passphrase({ output, passphrases }) {
    const passphrase = await passphrases.current('/a/repo');
    output.line(`got ${passphrase.toString('hex')}`);
    return 0;
  },

  async newPassphrase({ output, passphrases }) {
    const passphrase = await passphrases.initial('/a/repo');
    output.line(`got ${passphrase.toString('hex')}`);
    return 0;
  },

  /** Shows what children would inherit. */
  async environment({ output }) {
    output.line(
      Object.keys(process.env)
        .filter((name) => name.includes('PASSPHRASE'))
        .join(' '),
    );
    return 0;
  },

  /** A long listing. */
  async listing({ output, signal }) {
    for (let line = 0; line < 200_000; line++) {
      output.line(`line ${line}`);
      if (line % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
    }
    return 0;
  },

  async values({ output, options, positionals }) {
    const hex = (text: unknown): string => Buffer.from(String(text), 'latin1').toString('hex');
    const paths = Object.values(positionals).flat().map(hex);
    output.line(JSON.stringify({ paths, repo: hex(options.repo) }));
    return 0;
  },

  /** A defect that the command's own flow does not see. */
  async callback({ onHardExit, output }) {
    onHardExit(() => output.urgent('the lease is removed'));
    setTimeout(() => {
      throw new TypeError('lost in space');
    }, 10);
    await pause(60_000);
    return 0;
  },

  async unawaited({ onHardExit, output }) {
    onHardExit(() => output.urgent('the lease is removed'));
    void Promise.reject(new TypeError('lost in space'));
    await pause(60_000);
    return 0;
  },

  async partial({ output }) {
    output.warning('a/b: gone\u001b[2J', { code: 'SOURCE_CHANGED', path: 'a/b' });
    output.summary({ failed: 1 }, 'done');
    throw new PenstockError('SOURCE_UNREADABLE', '1 item could not be read');
  },
};

const behaviour = BEHAVIOURS[process.env.PENSTOCK_TEST_BEHAVIOUR ?? ''];
if (behaviour === undefined) throw new Error('PENSTOCK_TEST_BEHAVIOUR names no behaviour');
const exit = await runCommandLine({
  args: originalArguments(process.argv.slice(2), false),
  environment: process.env,
  launched: false,
  stdout: process.stdout,
  stderr: process.stderr,
  load: async () => ({ default: behaviour }) as unknown as CommandModule<never>,
});
process.exitCode = exit;
endWithin(exit);
