/**
 * Goal: keep rules keep what users expect of them, and no more is forgotten than was meant.
 * Method: histories whose outcome is known by hand; properties over random histories and rules.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import { applyKeepRules, type KeepRules, type RetainedArchive } from './retention.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = Date.parse('2026-03-20T12:00:00Z');

/** Archives of one name, their ids being their times. */
function archivesAt(times: readonly string[], name = 'home'): RetainedArchive[] {
  return times.map((time) => ({ id: time, name, timeMs: Date.parse(`${time}:00Z`) }));
}

function kept(archives: readonly RetainedArchive[], rules: KeepRules, timeZone = 'UTC'): string[] {
  return applyKeepRules(archives, rules, NOW_MS, timeZone).keep.map(({ id }) => id);
}

function isUsage(error: unknown): boolean {
  return error instanceof PenstockError && error.code === 'USAGE';
}

test('no rules at all are refused, whatever else is said', () => {
  const archives = archivesAt(['2026-03-01T10:00']);
  const none: KeepRules[] = [
    {},
    { keepLast: 0, keepDaily: 0 },
    { keepWithinMs: 0 },
    { keepNames: [] },
    { mayForgetAll: true },
  ];
  for (const rules of none) assert.throws(() => kept(archives, rules), isUsage);
});

test('counts and durations that make no sense are refused', () => {
  const wrong: KeepRules[] = [
    { keepLast: -1 },
    { keepDaily: 1.5 },
    { keepWeekly: Number.NaN },
    { keepWithinMs: -1, keepLast: 1 },
    { keepWithinMs: Number.NaN, keepLast: 1 },
  ];
  for (const rules of wrong) assert.throws(() => kept([], rules), isUsage);
  assert.throws(() => kept([], { keepLast: 1 }, 'Mars/Olympus'), isUsage);
});

test('keep-last keeps the newest, whatever the order in which they are given', () => {
  const archives = archivesAt(['2026-03-03T10:00', '2026-03-05T10:00', '2026-03-04T10:00']);
  const { keep, forget } = applyKeepRules(archives, { keepLast: 2 }, NOW_MS);
  assert.deepEqual(keep, [
    { id: '2026-03-05T10:00', reasons: ['last'] },
    { id: '2026-03-04T10:00', reasons: ['last'] },
  ]);
  assert.deepEqual(forget, ['2026-03-03T10:00']);
});

test('keep-daily keeps the newest of each day; days without backups do not count', () => {
  const archives = archivesAt([
    '2026-03-19T08:00',
    '2026-03-19T20:00',
    '2026-03-12T08:00',
    '2026-03-12T23:59',
    '2026-02-01T00:00',
    '2026-01-01T00:00',
  ]);
  assert.deepEqual(kept(archives, { keepDaily: 3 }), [
    '2026-03-19T20:00',
    '2026-03-12T23:59',
    '2026-02-01T00:00',
  ]);
});

test('a rule with periods left keeps the oldest archive too', () => {
  const archives = archivesAt(['2026-03-19T20:00', '2026-03-19T08:00', '2026-03-19T02:00']);
  const { keep, forget } = applyKeepRules(archives, { keepDaily: 7 }, NOW_MS);
  assert.deepEqual(keep, [
    { id: '2026-03-19T20:00', reasons: ['daily'] },
    { id: '2026-03-19T02:00', reasons: ['oldest daily'] },
  ]);
  assert.deepEqual(forget, ['2026-03-19T08:00']);
});

test('each rule counts on its own, and every reason is named', () => {
  const archives = archivesAt(['2026-03-19T20:00', '2026-03-18T20:00', '2026-02-27T20:00']);
  const { keep } = applyKeepRules(archives, { keepLast: 1, keepDaily: 2, keepMonthly: 2 }, NOW_MS);
  assert.deepEqual(keep, [
    { id: '2026-03-19T20:00', reasons: ['last', 'daily', 'monthly'] },
    { id: '2026-03-18T20:00', reasons: ['daily'] },
    { id: '2026-02-27T20:00', reasons: ['monthly'] },
  ]);
});

test('weeks are those of ISO 8601, also across the turn of the year', () => {
  // 2027-01-01 is a Friday: it lies in week 53 of 2026, which began on Monday, 28 December.
  const archives = archivesAt([
    '2027-01-04T00:00',
    '2027-01-03T23:59',
    '2026-12-31T10:00',
    '2026-12-28T00:00',
    '2026-12-27T23:59',
    '2026-12-01T00:00',
  ]);
  assert.deepEqual(kept(archives, { keepWeekly: 3 }), [
    '2027-01-04T00:00',
    '2027-01-03T23:59',
    '2026-12-27T23:59',
  ]);
});

test('hours, months and years', () => {
  const archives = archivesAt([
    '2026-03-19T20:59',
    '2026-03-19T20:01',
    '2026-03-19T19:59',
    '2026-02-28T10:00',
    '2025-12-31T23:59',
    '2024-06-01T00:00',
    '2024-01-01T00:00',
  ]);
  assert.deepEqual(kept(archives, { keepHourly: 2 }), ['2026-03-19T20:59', '2026-03-19T19:59']);
  assert.deepEqual(kept(archives, { keepMonthly: 3 }), [
    '2026-03-19T20:59',
    '2026-02-28T10:00',
    '2025-12-31T23:59',
  ]);
  assert.deepEqual(kept(archives, { keepYearly: 3 }), [
    '2026-03-19T20:59',
    '2025-12-31T23:59',
    '2024-06-01T00:00',
  ]);
});

test('a time zone decides where days begin; an hour that comes twice is two', () => {
  // In Berlin it is half past midnight and half past eleven.
  const archives = archivesAt(['2026-03-19T23:30', '2026-03-19T22:30', '2026-03-01T00:00']);
  assert.deepEqual(kept(archives, { keepDaily: 2 }), ['2026-03-19T23:30', '2026-03-01T00:00']);
  assert.deepEqual(kept(archives, { keepDaily: 2 }, 'Europe/Berlin'), [
    '2026-03-19T23:30',
    '2026-03-19T22:30',
  ]);
  const autumn = archivesAt(['2025-10-26T01:30', '2025-10-26T00:30', '2025-10-01T00:00']);
  assert.deepEqual(kept(autumn, { keepHourly: 2 }, 'Europe/Berlin'), [
    '2025-10-26T01:30',
    '2025-10-26T00:30',
  ]);
});

test('keep-within counts from the newest archive, or from now if that claims the future', () => {
  const old = archivesAt(['2020-01-10T00:00', '2020-01-08T00:00', '2020-01-01T00:00']);
  assert.deepEqual(kept(old, { keepWithinMs: 3 * DAY_MS }), [
    '2020-01-10T00:00',
    '2020-01-08T00:00',
  ]);
  const future = archivesAt(['2199-01-01T00:00', '2026-03-19T00:00', '2026-01-01T00:00']);
  assert.deepEqual(kept(future, { keepWithinMs: 3 * DAY_MS }), [
    '2199-01-01T00:00',
    '2026-03-19T00:00',
  ]);
});

test('names are judged separately; the newest stays unless all may be forgotten', () => {
  const archives = [
    ...archivesAt(['2026-03-01T00:00', '2026-03-02T00:00'], 'web'),
    ...archivesAt(['2026-03-03T00:00', '2026-03-04T00:00'], 'home'),
  ];
  assert.deepEqual(applyKeepRules(archives, { keepNames: ['home'] }, NOW_MS), {
    keep: [
      { id: '2026-03-04T00:00', reasons: ['name'] },
      { id: '2026-03-03T00:00', reasons: ['name'] },
      { id: '2026-03-02T00:00', reasons: ['newest'] },
    ],
    forget: ['2026-03-01T00:00'],
  });
  const all = applyKeepRules(archives, { keepNames: ['home'], mayForgetAll: true }, NOW_MS);
  assert.deepEqual(all.forget, ['2026-03-02T00:00', '2026-03-01T00:00']);
});

test('what is protected until a time to come stays; protection that is over does not count', () => {
  const archives = [
    { id: 'a', name: 'x', timeMs: NOW_MS - 3 * DAY_MS, protectedUntilMs: NOW_MS + 1 },
    { id: 'b', name: 'x', timeMs: NOW_MS - 2 * DAY_MS, protectedUntilMs: NOW_MS },
    { id: 'c', name: 'x', timeMs: NOW_MS - DAY_MS },
  ];
  const { keep, forget } = applyKeepRules(archives, { keepLast: 1, mayForgetAll: true }, NOW_MS);
  assert.deepEqual(keep, [
    { id: 'c', reasons: ['last'] },
    { id: 'a', reasons: ['protected'] },
  ]);
  assert.deepEqual(forget, ['b']);
});

test("a partial archive takes no whole one's place, and stays only as the newest", () => {
  const at = (id: string, days: number, partial: boolean): RetainedArchive => ({
    id,
    name: 'x',
    timeMs: NOW_MS - days * DAY_MS,
    partial,
  });
  const archives = [
    at('p1', 1, true),
    at('p2', 2, true),
    at('w1', 3, false),
    at('p3', 4, true),
    at('w2', 5, false),
  ];
  assert.deepEqual(applyKeepRules(archives, { keepLast: 2 }, NOW_MS), {
    keep: [
      { id: 'p1', reasons: ['partial'] },
      { id: 'w1', reasons: ['last'] },
      { id: 'w2', reasons: ['last'] },
    ],
    forget: ['p2', 'p3'],
  });
});

/** Random histories with clustered times: periods have several archives, some at one moment. */
const histories: fc.Arbitrary<RetainedArchive[]> = fc
  .array(
    fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      timeMs: fc.oneof(
        fc.integer({ min: -50, max: 20 }).map((hours) => NOW_MS + hours * HOUR_MS),
        fc.integer({ min: -900, max: 10 }).map((days) => NOW_MS + days * DAY_MS),
      ),
      protectedUntilMs: fc.option(fc.constantFrom(NOW_MS - 1, NOW_MS + 1), { nil: undefined }),
      partial: fc.boolean(),
    }),
    { maxLength: 40 },
  )
  .map((archives) => archives.map((archive, number) => ({ ...archive, id: `id${number}` })));

const count = fc.option(fc.constantFrom(0, 1, 2, 3, 7, Number.POSITIVE_INFINITY), {
  nil: undefined,
});
const ruleSets: fc.Arbitrary<KeepRules> = fc
  .record({
    keepLast: count,
    keepHourly: count,
    keepDaily: count,
    keepWeekly: count,
    keepMonthly: count,
    keepYearly: count,
    keepWithinMs: fc.option(
      fc.integer({ min: 0, max: 100 }).map((days) => days * DAY_MS),
      {
        nil: undefined,
      },
    ),
    keepNames: fc.option(fc.constantFrom(['a'], ['b', 'c']), { nil: undefined }),
  })
  .filter(
    ({ keepWithinMs, keepNames, ...counts }) =>
      keepNames !== undefined ||
      (keepWithinMs ?? 0) > 0 ||
      Object.values(counts).some((n) => (n ?? 0) > 0),
  );
const zones = fc.constantFrom('UTC', 'Europe/Berlin', 'America/St_Johns');

test('every archive is either kept, with a reason, or forgotten', () => {
  fc.assert(
    fc.property(histories, ruleSets, zones, (archives, rules, zone) => {
      const { keep, forget } = applyKeepRules(archives, rules, NOW_MS, zone);
      assert.ok(keep.every(({ reasons }) => reasons.length > 0));
      const ids = [...keep.map(({ id }) => id), ...forget];
      assert.deepEqual(ids.sort(), archives.map(({ id }) => id).sort());
    }),
  );
});

test('the newest archive of a name and what is protected are never forgotten', () => {
  fc.assert(
    fc.property(histories, ruleSets, zones, (archives, rules, zone) => {
      const forget = new Set(applyKeepRules(archives, rules, NOW_MS, zone).forget);
      for (const { id, protectedUntilMs } of archives) {
        if ((protectedUntilMs ?? 0) > NOW_MS) assert.ok(!forget.has(id));
      }
      const whole = archives.filter(({ partial }) => !partial);
      for (const peers of Object.values(Object.groupBy([...archives], ({ name }) => name))) {
        assertNewestStays(peers ?? [], forget);
      }
      for (const peers of Object.values(Object.groupBy(whole, ({ name }) => name))) {
        assertNewestStays(peers ?? [], forget);
      }
    }),
  );
});

function assertNewestStays(peers: readonly RetainedArchive[], forget: ReadonlySet<string>): void {
  const newestMs = Math.max(...peers.map(({ timeMs }) => timeMs));
  const newest = peers.filter(({ timeMs }) => timeMs === newestMs);
  assert.ok(newest.some(({ id }) => !forget.has(id)));
}

test('a rule that keeps more forgets nothing that a rule that keeps less would keep', () => {
  const key = fc.constantFrom(
    'keepLast' as const,
    'keepHourly' as const,
    'keepDaily' as const,
    'keepWeekly' as const,
    'keepMonthly' as const,
    'keepYearly' as const,
  );
  fc.assert(
    fc.property(
      histories,
      ruleSets,
      key,
      fc.integer({ min: 1, max: 5 }),
      (archives, rules, name, more) => {
        const less = new Set(kept(archives, rules));
        const greater = new Set(kept(archives, { ...rules, [name]: (rules[name] ?? 0) + more }));
        assert.ok(less.isSubsetOf(greater));
        const longer = { ...rules, keepWithinMs: (rules.keepWithinMs ?? 0) + more * DAY_MS };
        assert.ok(less.isSubsetOf(new Set(kept(archives, longer))));
      },
    ),
  );
});

test('applied again to what was kept, the rules forget nothing', () => {
  fc.assert(
    fc.property(histories, ruleSets, zones, (archives, rules, zone) => {
      const first = new Set(kept(archives, rules, zone));
      const rest = archives.filter(({ id }) => first.has(id));
      assert.deepEqual(applyKeepRules(rest, rules, NOW_MS, zone).forget, []);
    }),
  );
});
