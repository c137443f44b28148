/**
 * Goal: the log says what is on the medium (L4, L7), and verifying names what is wrong with it by its
 * object.
 *
 * Method: whole commands on small tape images, which are damaged byte by byte, and read by a reader that
 * shares no code with the program.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type JsonLine, penstock, untilOld } from '../commands.ts';
import { readTap, tapBytes } from '../tap-reader.ts';
import {
  assertLogIsRight,
  assertRestores,
  backup,
  flip,
  linesOf,
  makePlace,
  makeTree,
  offsetOf,
  type Place,
  scratch,
} from '../volume-place.ts';

test('the log says what is on the medium after backups at once', () => {
  const place = makePlace('log', '--mark-every', '4M');
  const sources = [1, 2, 3].map((i) => makeTree(`log-${i}`, 4 * i));
  const archives = backup(place, ...sources);
  backup(place, makeTree('log-later', 2));
  const lines = place.lines('volume', 'log', 'TAP001');
  const objects = readTap(place.tap('TAP001'));
  const told = lines.filter(({ type }) => type === 'entry');
  assertLogIsRight(objects, told);
  const sessions = lines.filter(({ type }) => type === 'session');
  assert.deepEqual(
    sessions.map((one) => [one.session, one.source, one.closed]),
    [
      [0, 'beside', true],
      [1, 'beside', true],
    ],
  );
  // Streams are called after their archives.
  const named = new Set(told.flatMap(({ name }) => (name === undefined ? [] : [name])));
  for (const [i, archive] of archives.entries())
    assert(
      [...named].some((name) => name === `${archive.slice(0, 8)} ${nameOf(place, archive)}`),
      `${i}`,
    );

  const verified = place.run('volume', 'verify', 'TAP001');
  assert.equal(verified.objects, objects.length);
  assert.equal(verified.marks, objects.filter((one) => one === 'mark').length - 1);
  assert.equal(verified.sessions, 2);

  const picture = join(scratch, 'rates.svg');
  const rates = place
    .lines('volume', 'log', 'TAP001', '--rates', '--svg', picture, '--session', '0')
    .find(({ type }) => type === 'rates');
  const streams = rates?.streams as { bytes: number; slices: { bytes: number }[] }[];
  assert.equal(streams.length, 3);
  for (const { bytes, slices } of streams)
    assert.equal(
      slices.reduce((sum, slice) => sum + slice.bytes, 0),
      bytes,
    );
  assert.equal(readFileSync(picture, 'utf8').match(/<polygon /g)?.length, 3);
  assert.equal(place.fails('volume', 'log', 'TAP001', '--session', '2'), 'USAGE');
});

function nameOf(place: Place, archive: string): unknown {
  return place.lines('archives').find(({ id }) => id === archive)?.name;
}

test('damage in the middle is named by its object, and the rest comes back', () => {
  const place = makePlace('damage', '--log-entries', 'record');
  const sources = [makeTree('damage-1', 8), makeTree('damage-2', 8)];
  const archives = backup(place, ...sources);
  const path = place.tap('TAP001');
  const whole = readFileSync(path);
  const told = place.lines('volume', 'log', 'TAP001').filter(({ type }) => type === 'entry');
  assertLogIsRight(readTap(path), told);
  const runs = told.filter(({ kind }) => kind === 'run');
  assert(
    runs.every(({ records }) => records === 1),
    'an entry a record',
  );
  // A block of the first archive.
  const first = runs.find(({ name }) =>
    (name as string).startsWith((archives[0] as string).slice(0, 8)),
  );
  const at = runs.findIndex((run) => run.stream === first?.stream && (run.bytes as number) > 2e5);
  const object = (runs[at]?.object as number) + (runs[at]?.records as number) - 1;
  const verify = (): readonly JsonLine[] => {
    const { status, stdout } = penstock(['volume', 'verify', 'TAP001', '--repo', place.repo]);
    assert.equal(status, 1);
    return linesOf(stdout).filter(({ type }) => type === 'damage');
  };

  flip(path, offsetOf(path, object) + 1000);
  const [content, ...more] = verify();
  assert.deepEqual([content?.object, content?.what, more], [object, 'damaged', []]);
  assert.equal(content?.chunk, runs[at]?.chunk);
  assertRestores(place, archives[1] as string, sources[1] as string);
  const target = join(scratch, 'damaged-target');
  const restored = penstock([
    'restore',
    archives[0] as string,
    '--target',
    target,
    '--repo',
    place.repo,
  ]);
  assert.equal(restored.status, 3);
  assert(restored.warnings.some(({ message }) => (message as string).includes(`object ${object}`)));

  // A record that the drive cannot read at all: the log says what it was.
  writeFileSync(path, whole);
  flip(path, offsetOf(path, object) + (readTap(path)[object] as Buffer).length + 1);
  const findings = verify();
  assert.deepEqual(
    findings
      .filter(({ object: where }) => where !== undefined)
      .map((one) => [one.object, one.what]),
    [[object, 'unreadable']],
  );
  assert.equal(findings[0]?.chunk, runs[at]?.chunk);
  assert.deepEqual(
    findings.slice(1).map(({ what, chunk }) => [what, chunk]),
    [['chunk', runs[at]?.chunk]],
  );
  assertRestores(place, archives[1] as string, sources[1] as string);

  // The label.
  writeFileSync(path, whole);
  flip(path, offsetOf(path, 1) + 200);
  assert.equal(place.fails('volume', 'verify', 'TAP001'), 'VOLUME_FOREIGN');
  // Another medium in its place.
  writeFileSync(path, '');
  assert.equal(place.fails('volume', 'verify', 'TAP001'), 'VOLUME_FOREIGN');
  assert.equal(place.fails('volume', 'log', 'TAP001', '--rebuild'), 'VOLUME_FOREIGN');
});

test('what a verifying has found damaged is stored anew by the next backup', async () => {
  const place = makePlace('noted', '--log-entries', 'record');
  const source = makeTree('noted', 8);
  await untilOld();
  const [archive] = backup(place, source);
  const path = place.tap('TAP001');
  const objects = readTap(path);
  // The last two blocks of data: one with other content, one that cannot be read as a record at all.
  const [content = 0, record = 0] = place
    .lines('volume', 'log', 'TAP001')
    .flatMap(({ object, bytes }) => ((bytes as number) > 2e5 ? [object as number] : []))
    .slice(-2);
  assert.ok(content > 0 && record > content);
  flip(path, offsetOf(path, content) + 1000);
  flip(path, offsetOf(path, record) + (objects[record] as Buffer).length + 1);
  assert.equal(penstock(['volume', 'verify', 'TAP001', '--repo', place.repo]).status, 1);
  // No file has changed, and yet what is lost is read and stored once more.
  const again = place.run('backup', source, '--pool', 'tapes');
  assert.ok((again.filesChanged as number) >= 2, JSON.stringify(again));
  assertRestores(place, archive as string, source);
  assertRestores(place, again.archive as string, source);
});

test('a session over two volumes: each is whole, and gets its log, as far as there is room', () => {
  const place = makePlace('over', '--volume-size', '10M', '--log-place', 'beside');
  const source = makeTree('over', 40);
  const [archive] = backup(place, source);
  for (const name of ['TAP001', 'TAP002']) {
    const { sessions } = place.run('volume', 'verify', name);
    assert.equal(sessions, 1);
    assertLogIsRight(
      readTap(place.tap(name)),
      place.lines('volume', 'log', name).filter(({ type }) => type === 'entry'),
    );
  }
  assert.deepEqual(place.run('volume', 'log', 'TAP001', '--append').appended, [0]);
  place.run('volume', 'verify', 'TAP001');
  // No room at all: what is there stays as it is.
  const path = place.tap('TAP002');
  const bytes = readFileSync(path);
  const left = 10 * 2 ** 20 - bytes.length - 8 - 300;
  const record = Buffer.alloc(left - (left % 2), 1);
  writeFileSync(path, Buffer.concat([bytes, tapBytes(record.length, record, record.length)]));
  assert.equal(place.fails('volume', 'log', 'TAP002', '--append'), 'VOLUME_FULL');
  assertRestores(place, archive as string, source);
  assert.equal(place.fails('volume', 'log', 'TAP002', '--clear'), 'VOLUME_UNLOGGED');
});
