/**
 * Which archives are kept and which are forgotten, by keep rules (U7).
 *
 * Contract: a pure function of the archives, the rules and the time. Archives are judged separately
 * for each name. Each rule chooses on its own what it keeps; an archive goes only if no rule keeps
 * it. As in restic: a period rule keeps the newest archive of each of the newest N periods that
 * have one (a day without a backup does not count), and while it has periods left, the oldest
 * archive too, so that a young history is not cut off at its beginning.
 *
 * Guarded, because a mistake cannot be taken back:
 * - no rules at all: USAGE, never "forget everything";
 * - the newest whole archive of each name stays whatever the rules say, unless `mayForgetAll`;
 * - an archive that is protected until a time to come stays, always;
 * - `keepWithinMs` counts from the newest archive of the name (from now, if that one claims to be
 *   from the future): a machine that was not backed up for long does not lose its history.
 * A partial archive (an interrupted backup's base) is nothing that a rule counts: the newest one of
 * a name stays while it is newer than the newest whole archive.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';

/** What the rules need to know of an archive. */
export interface RetainedArchive {
  readonly id: string;
  /** The name by which archives belong together, or its pseudonym. */
  readonly name: string;
  readonly timeMs: number;
  /** It must not be deleted before. */
  readonly protectedUntilMs?: number | undefined;
  readonly partial?: boolean | undefined;
}

/** Keep rules. A count of 0 and an absent rule are the same; Infinity keeps one of every period. */
export interface KeepRules {
  readonly keepLast?: number | undefined;
  readonly keepHourly?: number | undefined;
  readonly keepDaily?: number | undefined;
  /** Weeks begin on Monday (ISO 8601). */
  readonly keepWeekly?: number | undefined;
  readonly keepMonthly?: number | undefined;
  readonly keepYearly?: number | undefined;
  readonly keepWithinMs?: number | undefined;
  /** All archives of these names stay. */
  readonly keepNames?: readonly string[] | undefined;
  /** Allows that all archives of a name are forgotten. */
  readonly mayForgetAll?: boolean | undefined;
}

export type Period = 'last' | 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly';

/** Why an archive is kept; `oldest …`: the rule had periods left. */
export type KeepReason =
  | Period
  | `oldest ${Period}`
  | 'within'
  | 'name'
  | 'protected'
  | 'newest'
  | 'partial';

export interface KeptArchive {
  readonly id: string;
  readonly reasons: readonly KeepReason[];
}

/** By name, then newest first. */
export interface Retention {
  readonly keep: readonly KeptArchive[];
  readonly forget: readonly string[];
}

/**
 * Applies keep rules.
 *
 * @param timeZone IANA name; it decides where hours, days, weeks, months and years begin.
 * @throws USAGE for no rules, or one that makes no sense.
 */
export function applyKeepRules(
  archives: readonly RetainedArchive[],
  rules: KeepRules,
  nowMs: number,
  timeZone = 'UTC',
): Retention {
  const periods = checkRules(rules);
  const calendar = openCalendar(timeZone);
  const keep: KeptArchive[] = [];
  const forget: string[] = [];
  for (const group of groupByName(archives)) {
    const reasons = judgeGroup(group, rules, periods, nowMs, calendar);
    for (const archive of group) {
      const found = reasons.get(archive);
      if (found === undefined) forget.push(archive.id);
      else keep.push({ id: archive.id, reasons: found });
    }
  }
  return { keep, forget };
}

/** As far as Date reaches. */
const DATE_MAX_MS = 8.64e15;

type PeriodRule = readonly [period: Period, count: number];

/** The period rules that are set; refuses nonsense. */
function checkRules(rules: KeepRules): PeriodRule[] {
  const given: readonly (readonly [Period, number | undefined])[] = [
    ['last', rules.keepLast],
    ['hourly', rules.keepHourly],
    ['daily', rules.keepDaily],
    ['weekly', rules.keepWeekly],
    ['monthly', rules.keepMonthly],
    ['yearly', rules.keepYearly],
  ];
  const periods: PeriodRule[] = [];
  for (const [period, count] of given) {
    if (count === undefined || count === 0) continue;
    if (!(Number.isInteger(count) || count === Infinity) || count < 0) {
      throw new PenstockError('USAGE', `keep-${period} needs a whole number, not ${count}`);
    }
    periods.push([period, count]);
  }
  const { keepWithinMs, keepNames } = rules;
  if (keepWithinMs !== undefined && !(keepWithinMs >= 0)) {
    throw new PenstockError('USAGE', `keep-within needs a duration, not ${keepWithinMs}`);
  }
  const hasOther = (keepWithinMs ?? 0) > 0 || (keepNames?.length ?? 0) > 0;
  if (periods.length === 0 && !hasOther) {
    throw new PenstockError('USAGE', 'no keep rule is given: every archive would be forgotten', {
      hint: 'say what to keep, for example --keep-daily 7, or name the archives to forget',
    });
  }
  return periods;
}

/** Groups in the order of their names, each newest first. */
function groupByName(archives: readonly RetainedArchive[]): RetainedArchive[][] {
  const groups = new Map<string, RetainedArchive[]>();
  for (const archive of archives) {
    assert(Math.abs(archive.timeMs) <= DATE_MAX_MS, 'an archive has a time that a calendar knows');
    const group = groups.get(archive.name);
    if (group === undefined) groups.set(archive.name, [archive]);
    else group.push(archive);
  }
  const inOrder = [...groups].sort(([a], [b]) => compare(a, b)).map(([, group]) => group);
  for (const group of inOrder) group.sort((a, b) => b.timeMs - a.timeMs || compare(b.id, a.id));
  return inOrder;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

type Reasons = Map<RetainedArchive, KeepReason[]>;

/** Why each kept archive of one name (newest first) is kept. */
function judgeGroup(
  group: readonly RetainedArchive[],
  rules: KeepRules,
  periods: readonly PeriodRule[],
  nowMs: number,
  calendar: Calendar,
): Reasons {
  const reasons: Reasons = new Map();
  const keep = (archive: RetainedArchive, reason: KeepReason): void => {
    const found = reasons.get(archive);
    if (found === undefined) reasons.set(archive, [reason]);
    else found.push(reason);
  };
  const whole = group.filter(({ partial }) => partial !== true);
  for (const [period, count] of periods) keepPeriods(whole, period, count, calendar, keep);
  const newest = whole[0];
  if (newest !== undefined) {
    if (rules.keepWithinMs !== undefined && rules.keepWithinMs > 0) {
      const sinceMs = Math.min(newest.timeMs, nowMs) - rules.keepWithinMs;
      for (const archive of whole) if (archive.timeMs >= sinceMs) keep(archive, 'within');
    }
    if (rules.keepNames?.includes(newest.name) === true) {
      for (const archive of whole) keep(archive, 'name');
    }
  }
  const latest = group[0];
  if (latest?.partial === true) keep(latest, 'partial');
  for (const archive of group) {
    if ((archive.protectedUntilMs ?? -Infinity) > nowMs) keep(archive, 'protected');
  }
  if (newest !== undefined && rules.mayForgetAll !== true && !reasons.has(newest)) {
    keep(newest, 'newest');
  }
  return reasons;
}

/** The newest archive of each of the newest `count` periods, and the oldest if some are left. */
function keepPeriods(
  whole: readonly RetainedArchive[],
  period: Period,
  count: number,
  calendar: Calendar,
  keep: (archive: RetainedArchive, reason: KeepReason) => void,
): void {
  let left = count;
  let last: string | undefined;
  for (const [at, archive] of whole.entries()) {
    if (left === 0) return;
    const key = period === 'last' ? String(at) : calendar(archive.timeMs)[period];
    const isOldest = at === whole.length - 1;
    if (key === last && !isOldest) continue;
    keep(archive, key === last ? `oldest ${period}` : period);
    last = key;
    left--;
  }
}

/** The names of the periods in which a moment lies. */
type Calendar = (timeMs: number) => Readonly<Record<Exclude<Period, 'last'>, string>>;

const DAY_MS = 86_400_000;

/** A calendar of a time zone. USAGE when there is no such zone. */
function openCalendar(timeZone: string): Calendar {
  const offsetMs = openOffsets(timeZone);
  return (timeMs) => {
    // The zone's wall clock, read as if it were UTC.
    const wall = new Date(timeMs + offsetMs(timeMs));
    const year = wall.getUTCFullYear();
    const month = `${year}-${wall.getUTCMonth() + 1}`;
    const day = `${month}-${wall.getUTCDate()}`;
    return {
      // An hour that the clock shows twice in autumn is two hours.
      hourly: `${day} ${wall.getUTCHours()} ${offsetMs(timeMs)}`,
      daily: day,
      weekly: isoWeek(wall),
      monthly: month,
      yearly: String(year),
    };
  };
}

/** An ISO week is named by the year in which its Thursday lies. */
function isoWeek(wall: Date): string {
  const monday = 1;
  const thursday = 4;
  const weekday = (wall.getUTCDay() + 7 - monday) % 7;
  const middle = new Date(wall.getTime() + (thursday - monday - weekday) * DAY_MS);
  const year = middle.getUTCFullYear();
  const week = Math.floor((middle.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY_MS)) + 1;
  return `${year}-W${week}`;
}

/** By how much a zone's wall clock is ahead of UTC at a moment. */
function openOffsets(timeZone: string): (timeMs: number) => number {
  if (timeZone === 'UTC') return () => 0;
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  } catch (cause) {
    throw new PenstockError('USAGE', `not a time zone: ${timeZone}`, { cause });
  }
  return (timeMs) => {
    const name = format.formatToParts(timeMs).find(({ type }) => type === 'timeZoneName')?.value;
    const match = /^GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(name ?? '');
    assert(match !== null, `an offset of the zone ${timeZone}: ${name}`);
    const [, sign, hours = '0', minutes = '0', seconds = '0'] = match;
    const totalMs = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
    return sign === '-' ? -totalMs : totalMs;
  };
}
