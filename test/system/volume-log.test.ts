/**
 * Goal: no command loses a write log, and one that is lost is made again (L6).
 *
 * Method: whole commands on small tape images, read by a reader that shares no code with the program.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type JsonLine, penstock } from '../commands.ts';
import { readTap } from '../tap-reader.ts';
import {
  assertRestores,
  backup,
  flip,
  isOwn,
  linesOf,
  makePlace,
  makeTree,
  offsetOf,
  type Place,
} from '../volume-place.ts';

const logOf = (place: Place): unknown[] =>
  place
    .lines('volume', 'log', 'TAP001', '--session', '0')
    .filter(({ type }) => type === 'entry')
    .map(({ hint: _, ...entry }) => entry);

const sourceOf = (place: Place): unknown =>
  place.lines('volume', 'log', 'TAP001', '--session', '0').find(({ type }) => type === 'session')
    ?.source;

test('a log that is kept beside the volume is appended to it, and then cleared', () => {
  const place = makePlace('beside', '--log-place', 'beside');
  const source = makeTree('beside', 4);
  place.run('volume', 'label', 'TAP001', '--pool', 'tapes');
  place.run('volume', 'log', 'TAP001', '--initiate', 'weekly-47');
  const [archive] = backup(place, source);
  const pages = (): number =>
    readTap(place.tap('TAP001')).filter((one) => isOwn(one) && one[8] === 12).length;
  assert.equal(pages(), 0);
  const session = place.lines('volume', 'log', 'TAP001').find(({ type }) => type === 'session');
  assert.equal(session?.id, 'weekly-47', 'the log was named beforehand');
  const entries = logOf(place);
  assert(entries.length > 0);

  assert.equal(place.fails('volume', 'log', 'TAP001', '--clear'), 'VOLUME_UNLOGGED');
  assert.deepEqual(place.run('volume', 'log', 'TAP001', '--append').appended, [0]);
  assert.equal(pages(), 2, 'that of the session, and that of the appending');
  assert.deepEqual(place.run('volume', 'log', 'TAP001', '--append').appended, [], 'once is enough');
  place.run('volume', 'verify', 'TAP001');
  assert.deepEqual(place.run('volume', 'log', 'TAP001', '--clear').cleared, [0]);
  assert.equal(sourceOf(place), 'medium');
  assert.deepEqual(logOf(place), entries, 'times and all');
  assertRestores(place, archive as string, source);

  const later = makeTree('beside-later', 2);
  const [second] = backup(place, later);
  const last = place.lines('volume', 'log', 'TAP001').findLast(({ type }) => type === 'session');
  assert.match(last?.id as string, /^[0-9a-f]{32}$/, 'the name was for one session');
  place.run('volume', 'verify', 'TAP001');
  assertRestores(place, second as string, later);
  assert.equal(place.fails('volume', 'log', 'TAP001', '--initiate', 'a b'), 'USAGE');
});

test('a damaged log keeps nothing from being restored, and is made again', () => {
  const place = makePlace('rebuild', '--log-place', 'medium');
  const source = makeTree('rebuild', 4);
  const [archive] = backup(place, source);
  const right = place.lines('volume', 'log', 'TAP001', '--rebuild');
  assert.equal(right.find(({ type }) => type === 'rebuilt')?.was, 'right');
  const page = readTap(place.tap('TAP001')).findIndex((one) => isOwn(one) && one[8] === 12);
  const entries = logOf(place) as JsonLine[];
  flip(place.tap('TAP001'), offsetOf(place.tap('TAP001'), page) + 200);
  assertRestores(place, archive as string, source);
  const verified = penstock(['volume', 'verify', 'TAP001', '--repo', place.repo]);
  assert.equal(verified.status, 1);
  assert.deepEqual(
    linesOf(verified.stdout)
      .filter(({ type }) => type === 'damage')
      .map((one) => [one.object, one.what]),
    [[page, 'damaged']],
  );
  assert.equal(place.fails('volume', 'log', 'TAP001'), 'DAMAGED');
  const rebuilt = place.lines('volume', 'log', 'TAP001', '--rebuild');
  assert.equal(rebuilt.find(({ type }) => type === 'rebuilt')?.was, 'damaged');
  assert.equal(sourceOf(place), 'beside');
  const places = (list: readonly JsonLine[]): unknown[] =>
    list
      .filter(({ kind }) => kind === 'run')
      .flatMap((run) =>
        Array.from({ length: run.records as number }, (_, i) => [
          (run.object as number) + i,
          run.chunk,
          (run.part as number) + i,
        ]),
      );
  assert.deepEqual(places(logOf(place) as JsonLine[]), places(entries));
  assertRestores(place, archive as string, source);
  // With it on the medium, the damaged page is of no account any more.
  assert.deepEqual(place.run('volume', 'log', 'TAP001', '--append').appended, [0]);
  place.run('volume', 'log', 'TAP001', '--clear');
  assert.equal(sourceOf(place), 'medium');
  assertRestores(place, archive as string, source);
});
