/**
 * What help, the manual page and docs/cli.md say about a command, without any layout.
 *
 * Contract: pure; made from the table alone, so that the three never differ.
 */
import {
  COMMAND_NAMES,
  type CommandName,
  commandSpec,
  ENVIRONMENT,
  EXIT_HELP,
  GLOBAL_OPTIONS,
  PROGRAM,
} from './table.ts';
import type { CommandSpec, ExampleSpec, OptionSpec, OptionSpecs } from './types.ts';

/** A term and what it means: an option, an argument, a variable. */
export interface Definition {
  readonly term: string;
  readonly help: string;
}

export interface CommandDescription {
  readonly name: CommandName;
  readonly summary: string;
  readonly usage: string;
  readonly description: readonly string[];
  readonly arguments: readonly Definition[];
  readonly options: readonly Definition[];
  readonly examples: readonly ExampleSpec[];
  readonly exits: readonly Definition[];
}

export function describeCommand(name: CommandName): CommandDescription {
  const spec = commandSpec(name);
  return {
    name,
    summary: spec.summary,
    usage: usageLine(name, spec),
    description: spec.description,
    arguments: Object.values(spec.positionals).map((positional) => ({
      term: positional.value + (positional.many === true ? '…' : ''),
      help: positional.help + choicesOf(positional.choices),
    })),
    options: describeOptions(spec.options),
    examples: spec.examples,
    exits: describeExits(spec),
  };
}

/** The global options, in the order of the table; without those that a command has of its own. */
export function describeGlobalOptions(name?: CommandName): readonly Definition[] {
  const own = name === undefined ? {} : commandSpec(name).options;
  return describeOptions(
    Object.fromEntries(Object.entries(GLOBAL_OPTIONS).filter(([key]) => !(key in own))),
  );
}

/** Every variable of the environment that counts, those of options among them, each once. */
export function describeEnvironment(): readonly Definition[] {
  const all = new Map<string, string>(Object.entries(ENVIRONMENT));
  const specs: OptionSpecs[] = [
    GLOBAL_OPTIONS,
    ...COMMAND_NAMES.map((name) => commandSpec(name).options),
  ];
  for (const spec of specs.flatMap((options) => Object.values(options))) {
    if (spec.environment !== undefined)
      all.set(spec.environment, `the default of --${spec.flag}: ${spec.help}`);
  }
  return [...all]
    .map(([term, help]) => ({ term, help }))
    .sort((a, b) => (a.term < b.term ? -1 : 1));
}

/** The commands whose name begins with these words; all for ''. */
export function commandsBelow(topic: string): readonly CommandName[] {
  return COMMAND_NAMES.filter(
    (name) => topic === '' || name === topic || name.startsWith(`${topic} `),
  );
}

/** Exit statuses of any command, or of one. */
export function describeExits(spec?: CommandSpec): readonly Definition[] {
  return Object.entries(EXIT_HELP)
    .filter(([status]) => status !== '3' || spec === undefined || spec.partial !== undefined)
    .map(([term, help]) => ({ term, help: term === '3' ? (spec?.partial ?? help) : help }));
}

function describeOptions(specs: OptionSpecs): readonly Definition[] {
  return Object.values(specs).map((spec) => ({ term: optionTerm(spec), help: optionHelp(spec) }));
}

/** `-t, --target DIR`. */
export function optionTerm(spec: OptionSpec): string {
  const short = spec.short === undefined ? '' : `-${spec.short}, `;
  return `${short}--${spec.flag}${valueTerm(spec)}`;
}

function valueTerm(spec: OptionSpec): string {
  if (spec.kind === 'flag') return '';
  return ` ${spec.kind === 'choice' ? (spec.choices ?? []).join('|') : (spec.value ?? '')}`;
}

function optionHelp(spec: OptionSpec): string {
  const notes: string[] = [];
  if (spec.many === true) notes.push('may be repeated');
  if (spec.required === true) notes.push('required');
  const standard = spec.default ?? spec.defaultHelp;
  if (standard !== undefined) notes.push(`default: ${standard}`);
  if (spec.environment !== undefined) notes.push(`or ${spec.environment}`);
  return notes.length === 0 ? spec.help : `${spec.help} (${notes.join('; ')})`;
}

function choicesOf(choices: readonly string[] | undefined): string {
  return choices === undefined ? '' : `: ${choices.join(', ')}`;
}

function usageLine(name: CommandName, spec: CommandSpec): string {
  const parts: string[] = [PROGRAM.name, name];
  let optional = false;
  for (const option of Object.values(spec.options)) {
    if (option.required === true) parts.push(`--${option.flag}${valueTerm(option)}`);
    else optional = true;
  }
  if (optional) parts.push('[OPTION…]');
  for (const { value, many, required } of Object.values(spec.positionals)) {
    const text = value + (many === true ? '…' : '');
    parts.push(required === true ? text : `[${text}]`);
  }
  return parts.join(' ');
}
