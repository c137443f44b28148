/**
 * From what was typed to typed values: one place where text becomes sizes, times and choices.
 *
 * Contract: everything is parsed once, before the command's code is loaded; whatever is wrong is a
 * USAGE error that names the option or variable and says what would be right. The command line goes
 * before the environment, the environment before the table's default.
 */
import { isText, toBytes, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { parseDuration, parseSize, parseTime } from '../base/units.ts';
import type { RawCommand } from './command-line.ts';
import {
  type CommandName,
  commandSpec,
  GLOBAL_OPTIONS,
  type ParsedCommand,
  PROGRAM,
} from './table.ts';
import type { CommandSpec, OptionSpec, OptionSpecs, PositionalSpec } from './types.ts';

/** Bytes of a variable of the environment, one character each; undefined where it is not set. */
export type ReadVariable = (name: string) => string | undefined;

type Value = boolean | number | string;
type Values = Record<string, Value | readonly Value[] | undefined>;

/**
 * Turns what stands on the command line and in the environment into typed values.
 * Throws USAGE. `nowMs` is what ages (`7d`) count back from.
 */
export function parseCommand(
  raw: RawCommand,
  variable: ReadVariable,
  nowMs: number,
): ParsedCommand {
  const spec = commandSpec(raw.command);
  const specs: OptionSpecs = { ...GLOBAL_OPTIONS, ...spec.options };
  const context = { command: raw.command, nowMs };
  try {
    const options: Values = {};
    for (const [key, option] of Object.entries(specs)) {
      options[key] = optionValue(option, raw, variable, context);
    }
    const positionals = positionalValues(spec, raw.positionals, context);
    checkConflicts(specs, raw);
    checkNeeds(spec, raw, options, positionals);
    // The loops above follow the table from which the types of ParsedCommand are derived.
    return { command: raw.command, options, positionals } as unknown as ParsedCommand;
  } catch (error) {
    throw withCommandHint(error, raw.command);
  }
}

interface Context {
  readonly command: CommandName;
  readonly nowMs: number;
}

function optionValue(
  option: OptionSpec,
  raw: RawCommand,
  variable: ReadVariable,
  context: Context,
): Value | readonly Value[] | undefined {
  const given = raw.options.get(option.flag) ?? [];
  if (option.kind === 'flag') return given.length > 0;
  const name = `--${option.flag}`;
  if (option.many === true)
    return given.map((text) => parseValue(option, text, name, context.nowMs));
  const last = given.at(-1);
  if (last !== undefined) return parseValue(option, last, name, context.nowMs);
  const fromEnvironment =
    option.environment === undefined ? undefined : variable(option.environment);
  if (option.environment !== undefined && fromEnvironment !== undefined && fromEnvironment !== '') {
    return parseValue(option, fromEnvironment, option.environment, context.nowMs);
  }
  if (option.default !== undefined) return parseValue(option, option.default, name, context.nowMs);
  if (option.required === true)
    throw usage(`${context.command} needs ${name} ${option.value ?? ''}`.trim());
  return undefined;
}

function positionalValues(spec: CommandSpec, given: readonly string[], context: Context): Values {
  const values: Values = {};
  let used = 0;
  for (const [key, positional] of Object.entries(spec.positionals)) {
    const own = positional.many === true ? given.slice(used) : given.slice(used, used + 1);
    used += own.length;
    if (positional.required === true && own.length === 0) {
      throw usage(`${context.command} needs ${withArticle(positional)}`);
    }
    const parsed = own.map((text) => parseValue(positional, text, positional.value, context.nowMs));
    values[key] = positional.many === true ? parsed : parsed[0];
  }
  const extra = given[used];
  if (extra !== undefined)
    throw usage(`${context.command} does not take another argument: ${toDisplay(extra)}`);
  return values;
}

function withArticle(positional: PositionalSpec): string {
  const article = /^[AEIO]./.test(positional.value) ? 'an' : 'a';
  return `${article} ${positional.value}: ${positional.help}`;
}

function checkConflicts(specs: OptionSpecs, raw: RawCommand): void {
  for (const option of Object.values(specs)) {
    if (!raw.options.has(option.flag)) continue;
    const other = option.conflicts?.find((flag) => raw.options.has(flag));
    if (other !== undefined) throw usage(`--${option.flag} and --${other} exclude each other`);
  }
}

function checkNeeds(
  spec: CommandSpec,
  raw: RawCommand,
  options: Values,
  positionals: Values,
): void {
  const isGiven = (value: Values[string]) =>
    Array.isArray(value) ? value.length > 0 : value !== undefined;
  const keys = spec.needsOneOf;
  if (keys === undefined || keys.some((key) => isGiven(positionals[key] ?? options[key]))) return;
  const names = keys.map((key) => {
    const option = spec.options[key];
    return option === undefined ? (spec.positionals[key]?.value ?? key) : `--${option.flag}`;
  });
  throw usage(`${raw.command} needs at least one of ${names.join(', ')}`);
}

/** One value as written, in bytes. `name` is the option, argument or variable, for messages. */
export function parseValue(
  spec: OptionSpec | PositionalSpec,
  bytes: string,
  name: string,
  nowMs: number,
): Value {
  if (bytes === '') throw usage(`${name} is empty`);
  if (spec.kind === 'path' || spec.kind === 'pattern') return bytes;
  if (!isText(bytes)) throw usage(`${name} is not valid UTF-8: ${toDisplay(bytes)}`);
  const text = toBytes(bytes).toString('utf8');
  switch (spec.kind) {
    case 'size':
      return named(name, () => parseSize(text));
    case 'duration':
      return named(name, () => parseDuration(text));
    case 'time':
      return named(name, () => parseTime(text, nowMs));
    case 'count':
      return parseNumber(text, name, /^\d+$/, spec.min ?? 0, spec.max ?? Number.MAX_SAFE_INTEGER);
    case 'percent':
      return parseNumber(text.replace(/\s*%$/, ''), name, /^\d+(\.\d+)?$/, 0, 100);
    case 'choice':
      if (spec.choices?.includes(text) === true) return text;
      throw usage(`${name} is one of ${spec.choices?.join(', ')}, not ${toDisplay(bytes)}`);
    default:
      return text;
  }
}

function parseNumber(text: string, name: string, form: RegExp, min: number, max: number): number {
  const value = form.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  const upTo = max === Number.MAX_SAFE_INTEGER ? ` of at least ${min}` : ` from ${min} to ${max}`;
  throw usage(`${name} is a number${upTo}, not ${text}`);
}

/** Puts the option's name before the message of a parser of units. */
function named(name: string, parse: () => number): number {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof PenstockError)) throw error;
    throw new PenstockError('USAGE', `${name}: ${error.message}`, { hint: error.hint });
  }
}

const NO_HINT = '';

function usage(message: string): PenstockError {
  return new PenstockError('USAGE', message, { hint: NO_HINT });
}

/** The hint of a usage error, unless it has a better one: where the command's help is. */
function withCommandHint(error: unknown, command: string): unknown {
  if (!(error instanceof PenstockError) || error.hint !== NO_HINT) return error;
  return new PenstockError('USAGE', error.message, { hint: commandHint(command) });
}

/** `run \`penstock help backup\` …`. */
export function commandHint(command: string): string {
  return `run \`${PROGRAM.name} help${command === '' ? '' : ` ${command}`}\` for the syntax`;
}
