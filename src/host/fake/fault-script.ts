/**
 * Which call fails, when and how: the script of a fake.
 *
 * Contract: rules are looked at in the order in which they were made; the first whose turn it is
 * acts. A rule counts the calls that it matches, lets the first `after` pass, then acts `repeat`
 * times. The counters may lie on shared memory, so that threads which hold the same rules count
 * together.
 *
 * As text (for PENSTOCK_FAULT), rules separated by `;`, parts by `:`
 *   write:after=3:error=ENOSPC:repeat=2;sync:crash
 *   CALL                a call of the port, or `any`, or `change` (whatever changes something)
 *   after=N             default 0
 *   repeat=N|forever    default 1
 *   name=TEXT           only calls one of whose names contains it
 *   error=E…            default EIO
 *   torn                a write leaves its first half behind, then fails; a read ends at the half
 *   late                the call is carried out, and then fails
 *   lost                the call is not carried out, and says that it was
 *   hold=FIFO           the call is carried out once somebody has opened the FIFO for writing and closed it
 *   crash               the process ends by SIGKILL before the call; with torn or late, after it
 */
import { assert } from '../../base/assert.ts';
import { PenstockError } from '../../base/errors.ts';
import { errnoNumber } from '../errno.ts';

/** Counters of one rule: matched calls, acted calls; and one more of all calls. */
const COUNTERS_PER_RULE = 2;
const RULES_MAX = 64;
const FOREVER = 0x7fff_ffff;
const ALL_CALLS = RULES_MAX * COUNTERS_PER_RULE;

export type FaultMode = 'fail' | 'torn' | 'late' | 'lost' | 'hold';

/** What a rule says to do with a call. */
export interface Fault {
  readonly errno: number;
  readonly mode: FaultMode;
  readonly crash: boolean;
  /** What a call is held at. */
  readonly fifo: string;
}

export class FaultRule implements Fault {
  readonly call: string;
  /** Index in the script, which says where its counters lie. */
  readonly index: number;
  errno: number = errnoNumber('EIO') as number;
  mode: FaultMode = 'fail';
  crash = false;
  fifo = '';
  skipped = 0;
  times = 1;
  text: string | undefined;

  constructor(call: string, index: number) {
    this.call = call;
    this.index = index;
  }

  /** Lets the first `count` matching calls pass. */
  after(count: number): this {
    this.skipped = count;
    return this;
  }

  /** Acts so many times. */
  repeat(count: number): this {
    this.times = count;
    return this;
  }

  forever(): this {
    return this.repeat(FOREVER);
  }

  /** Only calls one of whose names contains `text`. */
  named(text: string): this {
    this.text = text;
    return this;
  }

  error(name: string): this {
    const errno = errnoNumber(name);
    assert(errno !== undefined, `${name} is an error of the system`);
    this.errno = errno;
    return this;
  }

  /** A write leaves its first half behind, then fails; a read ends at the half. */
  torn(): this {
    this.mode = 'torn';
    return this;
  }

  /** The call is carried out, and then fails: its answer was lost. */
  late(): this {
    this.mode = 'late';
    return this;
  }

  /** The call is not carried out and says that it was. */
  lost(): this {
    this.mode = 'lost';
    return this;
  }

  /** The thread waits until the FIFO was opened for writing and closed; then the call is carried out. */
  hold(fifo: string): this {
    this.mode = 'hold';
    this.fifo = fifo;
    return this;
  }

  /** The process ends by SIGKILL at this call. */
  kill(): this {
    this.crash = true;
    return this;
  }
}

export class FaultScript {
  readonly #rules: FaultRule[] = [];
  readonly #counters: Int32Array;

  /** @param memory shared by all threads that hold the same rules; see `countersBytes` */
  constructor(memory: ArrayBufferLike = new SharedArrayBuffer(FaultScript.countersBytes)) {
    this.#counters = new Int32Array(memory);
  }

  static readonly countersBytes: number = (ALL_CALLS + 1) * Int32Array.BYTES_PER_ELEMENT;

  /** Begins a rule: `fault('write').after(3).error('ENOSPC').repeat(2)`. */
  fault(call: string): FaultRule {
    assert(this.#rules.length < RULES_MAX, `a script has at most ${RULES_MAX} rules`);
    const rule = new FaultRule(call, this.#rules.length);
    this.#rules.push(rule);
    return rule;
  }

  /** Calls so far, of any kind. */
  get calls(): number {
    return Atomics.load(this.#counters, ALL_CALLS);
  }

  /** Calls so far that a rule acted on. */
  get acted(): number {
    let sum = 0;
    for (const rule of this.#rules) sum += Math.min(this.#count(rule, 1), rule.times);
    return sum;
  }

  /** Forgets rules and counts. */
  clear(): void {
    this.#rules.length = 0;
    this.#counters.fill(0);
  }

  /** Called for every call; returns what to do instead, or nothing. */
  next(call: string, changes: boolean, names: readonly unknown[]): Fault | undefined {
    Atomics.add(this.#counters, ALL_CALLS, 1);
    for (const rule of this.#rules) {
      if (!matches(rule, call, changes, names)) continue;
      const at = rule.index * COUNTERS_PER_RULE;
      if (Atomics.add(this.#counters, at, 1) < rule.skipped) continue;
      if (Atomics.add(this.#counters, at + 1, 1) < rule.times) return rule;
    }
    return undefined;
  }

  #count(rule: FaultRule, which: 0 | 1): number {
    return Atomics.load(this.#counters, rule.index * COUNTERS_PER_RULE + which);
  }
}

function matches(
  rule: FaultRule,
  call: string,
  changes: boolean,
  names: readonly unknown[],
): boolean {
  if (rule.call !== call && rule.call !== 'any' && !(rule.call === 'change' && changes))
    return false;
  const text = rule.text;
  return (
    text === undefined || names.some((name) => typeof name === 'string' && name.includes(text))
  );
}

/**
 * Adds the rules of a text.
 *
 * @param calls the calls that the fake has
 * @throws PenstockError USAGE for what it does not understand
 */
export function addFaultRules(script: FaultScript, text: string, calls: readonly string[]): void {
  for (const part of text.split(';')) {
    const [call, ...options] = part.trim().split(':');
    if (call === undefined || call === '') continue;
    if (call !== 'any' && call !== 'change' && !calls.includes(call)) throw wrong(part);
    const rule = script.fault(call);
    for (const option of options) if (!apply(rule, option)) throw wrong(part);
  }
}

function apply(rule: FaultRule, option: string): boolean {
  const [name, value] = splitOnce(option);
  const count = Number(value);
  if (name === 'after' && Number.isInteger(count)) rule.after(count);
  else if (option === 'repeat=forever') rule.forever();
  else if (name === 'repeat' && Number.isInteger(count)) rule.repeat(count);
  else if (name === 'name' && value !== undefined) rule.named(value);
  else if (name === 'error' && value !== undefined && errnoNumber(value) !== undefined)
    rule.error(value);
  else if (option === 'torn') rule.torn();
  else if (option === 'late') rule.late();
  else if (option === 'lost') rule.lost();
  else if (name === 'hold' && value !== undefined) rule.hold(value);
  else if (option === 'crash') rule.kill();
  else return false;
  return true;
}

function splitOnce(option: string): [name: string, value: string | undefined] {
  const at = option.indexOf('=');
  return at < 0 ? [option, undefined] : [option.slice(0, at), option.slice(at + 1)];
}

function wrong(part: string): PenstockError {
  return new PenstockError('USAGE', `PENSTOCK_FAULT is not understood at ${part}`);
}
