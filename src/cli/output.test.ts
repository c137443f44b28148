/**
 * Goal: results and messages go where they belong in every mode (U4). Method: streams that record.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { Output, type OutputSettings, type OutputStream } from './output.ts';

class FakeStream implements OutputStream {
  readonly isTTY: boolean;
  readonly columns = 60;
  text = '';
  failure: NodeJS.ErrnoException | undefined;
  #onError: (error: Error) => void = () => {};

  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(data: string | Uint8Array, done?: (error?: Error | null) => void): boolean {
    const failure = data.length > 0 ? this.failure : undefined;
    if (failure === undefined)
      this.text += typeof data === 'string' ? data : Buffer.from(data).toString();
    else this.#onError(failure);
    done?.(failure ?? null);
    return true;
  }
  on(_event: 'error', listener: (error: Error) => void): void {
    this.#onError = listener;
  }
}

interface Case {
  readonly output: Output;
  readonly stdout: FakeStream;
  readonly stderr: FakeStream;
  readonly lost: PenstockError[];
}

function open(settings: Partial<OutputSettings> = {}, isTTY = false): Case {
  const stdout = new FakeStream(isTTY);
  const stderr = new FakeStream(isTTY);
  const lost: PenstockError[] = [];
  const output = new Output({
    json: false,
    quiet: false,
    verbose: false,
    noColor: false,
    stdout,
    stderr,
    clockMs: () => 0,
    onOutputLost: (error) => lost.push(error),
    ...settings,
  });
  return { output, stdout, stderr, lost };
}

function useAll(output: Output): void {
  output.note('a note');
  output.detail('a detail');
  output.line('a result');
  output.entry({ type: 'entry', path: 'a' });
  output.warning('b: gone', { code: 'SOURCE_CHANGED', path: 'b', hint: 'look' });
  output.summary({ files: 1 }, 'all done');
}

test('people: results on standard output, messages on standard error', async () => {
  const { output, stdout, stderr } = open();
  useAll(output);
  await output.close(0);
  assert.equal(stdout.text, 'a result\n');
  assert.equal(stderr.text, 'a note\nwarning: b: gone\n  hint: look\nall done\n');
  assert.equal(output.problems, 0);
  output.problem('c: gone');
  assert.equal(output.problems, 1);
});

test('quiet: results and warnings only', async () => {
  const { output, stdout, stderr } = open({ quiet: true });
  useAll(output);
  await output.close(0);
  assert.equal(stdout.text, 'a result\n');
  assert.equal(stderr.text, 'warning: b: gone\n  hint: look\n');
});

test('verbose: details too', async () => {
  const { output, stderr } = open({ verbose: true });
  useAll(output);
  await output.close(0);
  assert.match(stderr.text, /^a note\na detail\n/);
});

test('json: one object a line, the last one the summary, nothing on standard error', async () => {
  const { output, stdout, stderr } = open({ json: true });
  useAll(output);
  output.error(new PenstockError('DAMAGED', 'chunk 7: bad', { subject: '7' }));
  await output.close(3);
  assert.deepEqual(
    stdout.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    [
      { type: 'entry', path: 'a' },
      { type: 'warning', code: 'SOURCE_CHANGED', message: 'b: gone', path: 'b', hint: 'look' },
      {
        type: 'error',
        code: 'DAMAGED',
        message: 'chunk 7: bad',
        hint: 'run `penstock check --read-data` to see all damage',
        subject: '7',
      },
      { type: 'summary', files: 1, exit: 3 },
    ],
  );
  assert.equal(stderr.text, '');
});

test('json: there is a summary even if the command gave none', async () => {
  const { output, stdout } = open({ json: true });
  await output.close(1);
  assert.equal(stdout.text, '{"type":"summary","exit":1}\n');
});

test('raw bytes stay what they are with --json: objects go to standard error', async () => {
  const { output, stdout, stderr } = open({ json: true });
  await output.writeBytes(Buffer.from('content'));
  await output.close(0);
  assert.equal(stdout.text, 'content');
  assert.equal(stderr.text, '{"type":"summary","exit":0}\n');
});

test('bytes and lines keep their order', async () => {
  const { output, stdout } = open();
  output.line('first');
  await output.writeBytes(Buffer.from('second\n'));
  output.line('third');
  await output.close(0);
  assert.equal(stdout.text, 'first\nsecond\nthird\n');
});

test('messages and results do not garble the progress line', () => {
  const { output, stdout, stderr } = open({ noColor: true }, true);
  output.redraw('50 %');
  output.warning('b: gone');
  output.line('a result');
  output.flush();
  output.redraw('51 %');
  output.redraw('51 %');
  output.redraw('');
  const clear = '\r\x1b[K';
  const expected = [
    `${clear}50 %`,
    `${clear}warning: b: gone\n50 %`,
    clear,
    '50 %',
    `${clear}51 %`,
    clear,
  ];
  assert.equal(stderr.text, expected.join(''));
  assert.equal(stdout.text, 'a result\n');
});

test('colours only on a terminal that wants them', () => {
  for (const [settings, isTTY, colored] of [
    [{}, true, true],
    [{ noColor: true }, true, false],
    [{ dumbTerminal: true }, true, false],
    [{}, false, false],
  ] as const) {
    const { output, stderr } = open(settings, isTTY);
    output.warning('x');
    assert.equal(stderr.text.includes('\x1b['), colored);
  }
});

test('control characters of a name in a message do not steer the terminal', () => {
  const { output, stderr } = open();
  output.warning('a\x1b[2J\nb: gone');
  assert.equal(stderr.text, 'warning: a\\x1b[2J\\x0ab: gone\n');
});

test('a stack is shown only when verbose', () => {
  const plain = open();
  plain.output.error(new PenstockError('DAMAGED', 'chunk 7: bad'));
  assert(!plain.stderr.text.includes('output.test.ts'));
  const verbose = open({ verbose: true });
  verbose.output.error(new PenstockError('DAMAGED', 'chunk 7: bad'));
  assert(verbose.stderr.text.includes('output.test.ts'));
});

test('a reader that went away is told once, and the rest is dropped', async () => {
  const { output, stdout, stderr, lost } = open();
  stdout.failure = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  output.line('one');
  output.flush();
  output.line('two');
  await assert.rejects(output.writeBytes(Buffer.from('three')), { code: 'INTERRUPTED' });
  await output.close(0);
  assert.equal(output.lost?.errno, 'EPIPE');
  assert.equal(lost.length, 1);
  assert.equal(stderr.text, '');
});

test('standard output that cannot be written is an error', async () => {
  const { output, stdout, lost } = open();
  stdout.failure = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
  output.line('one');
  await output.close(0);
  assert.equal(output.lost?.code, 'HOST_IO');
  assert.match(output.lost?.message ?? '', /cannot write standard output: ENOSPC/);
  assert.equal(lost.length, 1);
});

test('lines are handed over soon even when few come', async () => {
  const { output, stdout } = open();
  output.line('one');
  assert.equal(stdout.text, '');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(stdout.text, 'one\n');
});
