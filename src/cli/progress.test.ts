/**
 * Goal: progress says what is true, at the right times (U4). Method: a clock that the test moves.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Progress,
  type ProgressFigures,
  type ProgressSink,
  type ProgressStyle,
  progressFields,
  progressLine,
  progressState,
  Rate,
} from './progress.ts';
import { textColumns } from './width.ts';

const FIGURES: ProgressFigures = {
  bytesDone: 512 * 1024,
  bytesTotal: 1024 * 1024,
  filesDone: 1200,
  filesTotal: undefined,
  isTotalLeast: false,
  path: 'home/me/file.txt',
};

class FakeSink implements ProgressSink {
  readonly style: ProgressStyle;
  readonly shown: unknown[] = [];
  nowMs = 0;

  constructor(style: ProgressStyle) {
    this.style = style;
  }
  columns(): number {
    return 80;
  }
  redraw(text: string): void {
    this.shown.push(text);
  }
  logLine(text: string): void {
    this.shown.push(text);
  }
  jsonLine(record: object): void {
    this.shown.push(record);
  }
  clockMs(): number {
    return this.nowMs;
  }
}

test('percent never passes 100 and is 100 only when all is done', () => {
  const percent = (bytesDone: number, bytesTotal: number): string | undefined =>
    progressFields(
      { ...FIGURES, bytesDone, bytesTotal },
      progressState({ ...FIGURES, bytesDone, bytesTotal }, 0),
    )[0];
  assert.equal(percent(999_999, 1_000_000), '99 %');
  assert.equal(percent(1_000_000, 1_000_000), '100 %');
  assert.equal(percent(3_000_000, 1_000_000), '100 %');
  assert.equal(percent(0, 1_000_000), '0 %');
});

test('while the total is not known there is neither percent nor time left', () => {
  const figures = { ...FIGURES, bytesTotal: undefined };
  const state = progressState(figures, 1000);
  assert.deepEqual(state, { fraction: undefined, bytesPerSecond: 1000, leftMs: undefined });
  assert.deepEqual(progressFields(figures, state), ['512.0 KiB', '1,200 files', '1000 B/s']);
});

test('totals that still grow are told as such, without a percent', () => {
  const figures = { ...FIGURES, filesTotal: 3000, isTotalLeast: true };
  const state = progressState(figures, 1024 * 64);
  assert.deepEqual(state, { fraction: undefined, bytesPerSecond: 65_536, leftMs: 8000 });
  assert.deepEqual(progressFields(figures, state), [
    '512.0 KiB of ≥ 1.00 MiB',
    '1,200 of ≥ 3,000 files',
    '64.0 KiB/s',
    '≥ 8.0 s left',
  ]);
  const shown = new FakeSink('json');
  const progress = new Progress(shown);
  progress.start('copying');
  for (const isTotalLeast of [true, false]) {
    shown.nowMs += 1000;
    progress.update({ ...figures, isTotalLeast });
    progress.tick();
  }
  progress.finish();
  const [grows, known] = shown.shown as Record<string, unknown>[];
  assert.deepEqual([grows?.totalsGrow, grows?.fraction], [true, undefined]);
  assert.deepEqual([known?.totalsGrow, known?.fraction], [undefined, 0.5]);
});

test('work without bytes is measured by files', () => {
  const figures = { ...FIGURES, bytesDone: 0, bytesTotal: undefined, filesDone: 5, filesTotal: 20 };
  assert.deepEqual(progressFields(figures, progressState(figures, 0)), ['25 %', '5 of 20 files']);
});

test('an empty source is no division by zero', () => {
  const state = progressState(
    { ...FIGURES, bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 },
    0,
  );
  assert.equal(state.fraction, undefined);
});

test('the line fits every width and drops the least telling first', () => {
  const state = progressState(FIGURES, 2048);
  assert.equal(
    progressLine('backing up', FIGURES, state, 100),
    'backing up  50 %  512.0 KiB of 1.00 MiB  1,200 files  2.00 KiB/s  4:16 left  home/me/file.txt',
  );
  for (let columns = 0; columns < 110; columns++) {
    const line = progressLine('backing up', FIGURES, state, columns);
    assert(textColumns(line) <= columns, `${columns}: ${line}`);
  }
  assert.equal(progressLine('backing up', FIGURES, state, 20), 'backing up  50 %');
});

test('control characters of a name never reach the terminal', () => {
  const figures = { ...FIGURES, path: 'a\x1b[2Jb\n' };
  const line = progressLine('x', figures, progressState(figures, 0), 200);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert(!/[\x00-\x1f]/.test(line), line);
});

test('the rate follows a change within seconds and starts at the truth', () => {
  const rate = new Rate(0);
  rate.sample(200, 200_000);
  assert.equal(Math.round(rate.bytesPerSecond), 1_000_000);
  let bytes = 200_000;
  for (let ms = 400; ms <= 20_000; ms += 200) {
    bytes += 20_000;
    rate.sample(ms, bytes);
  }
  assert(
    rate.bytesPerSecond > 99_000 && rate.bytesPerSecond < 150_000,
    String(rate.bytesPerSecond),
  );
  rate.sample(20_000, bytes + 1e9);
  assert(rate.bytesPerSecond < 150_000, 'no time has passed');
  rate.sample(21_000, 0);
  assert(rate.bytesPerSecond >= 0, 'never negative');
});

const SCHEDULES = [
  ['terminal', 200],
  ['log', 10_000],
  ['json', 1000],
] as const;

for (const [style, intervalMs] of SCHEDULES) {
  test(`${style}: something is shown every ${intervalMs} ms and not more often`, () => {
    const sink = new FakeSink(style);
    const progress = new Progress(sink);
    progress.start('checking');
    for (sink.nowMs = 100; sink.nowMs <= 30_000; sink.nowMs += 100) {
      progress.update({ bytesDone: sink.nowMs });
      progress.tick();
    }
    assert.equal(sink.shown.length, 30_000 / intervalMs);
    progress.finish();
  });
}

test('finishing removes the line, or writes the last object', () => {
  const terminal = new FakeSink('terminal');
  const onTerminal = new Progress(terminal);
  onTerminal.start('checking');
  onTerminal.finish();
  onTerminal.finish();
  assert.deepEqual(terminal.shown, ['']);
  const json = new FakeSink('json');
  const inJson = new Progress(json);
  inJson.start('checking');
  inJson.update({ bytesDone: 7, filesDone: 2, path: '\xff' });
  json.nowMs = 1500;
  inJson.finish();
  assert.deepEqual(json.shown, [
    {
      type: 'progress',
      activity: 'checking',
      elapsedSeconds: 1.5,
      bytesDone: 7,
      filesDone: 2,
      bytesPerSecond: 0,
      path: '\ufffd',
      pathBytes: '/w==',
    },
  ]);
});

test('when quiet nothing is ever shown', () => {
  const sink = new FakeSink('none');
  const progress = new Progress(sink);
  progress.start('checking');
  progress.update({ bytesDone: 1 });
  sink.nowMs = 1e9;
  progress.tick();
  progress.finish();
  assert.deepEqual(sink.shown, []);
});
