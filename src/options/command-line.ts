/**
 * Splits a command line into command, options and arguments, by the table, with commander.
 *
 * Contract: arguments come in as bytes, one character each (ByteString), so that names of any bytes
 * get through; values are not looked at here (parse.ts does). Global options may stand before and
 * after the command's name. Unknown commands and options are USAGE errors with the nearest name as
 * the hint. Nothing is printed and the process is never ended here.
 */
import { Command, CommanderError, Option } from 'commander';
import { toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { commandsBelow } from './describe.ts';
import { commandHint } from './parse.ts';
import { COMMAND_NAMES, type CommandName, commandSpec, GLOBAL_OPTIONS, PROGRAM } from './table.ts';
import type { OptionSpec, OptionSpecs } from './types.ts';

/** What was typed. */
export interface RawCommand {
  readonly command: CommandName;
  /** By flag: what was given, in order; an empty text for each occurrence of a flag. */
  readonly options: ReadonlyMap<string, readonly string[]>;
  readonly positionals: readonly string[];
}

/** What to show instead of running a command. */
export type CommandLine =
  | { readonly kind: 'command'; readonly raw: RawCommand }
  /** `topic` is '' for the overview, or a command, or the first word of several. */
  | { readonly kind: 'help'; readonly topic: string; readonly exit: number }
  | { readonly kind: 'version' };

/** Splits `args`, which do not include the program's name. Throws USAGE. */
export function readCommandLine(args: readonly string[]): CommandLine {
  const options = new Map<string, string[]>();
  let found: { command: CommandName; positionals: readonly string[] } | undefined;
  const program = newCommand(PROGRAM.name, GLOBAL_OPTIONS, options).enablePositionalOptions();
  for (const name of COMMAND_NAMES) {
    const words = name.split(' ');
    // The options of all commands are a thousand: only those that can be meant get theirs.
    const isTyped = words.every((word) => args.includes(word));
    const specs = isTyped ? { ...GLOBAL_OPTIONS, ...commandSpec(name).options } : {};
    const leaf = newCommand(words.at(-1) ?? name, specs, options);
    leaf.argument('[arguments...]').action((positionals: string[]) => {
      found = { command: name, positionals };
    });
    // `pair HOST` stands beside `pair list`.
    if (commandsBelow(name).length > 1) leaf.enablePositionalOptions();
    groupOf(program, words, options).addCommand(leaf);
  }
  const stop = parse(program, args);
  // Asked for anywhere on the line, they need no further arguments.
  if (options.has('version')) return { kind: 'version' };
  const topic = found?.command ?? wordsOf(stop?.command);
  if (options.has('help')) return { kind: 'help', topic, exit: 0 };
  if (found !== undefined) return { kind: 'command', raw: { ...found, options } };
  return { kind: 'help', topic, exit: 2 };
}

/** The command that holds the leaf: the program itself, or a group such as `key`. */
function groupOf(program: Command, words: readonly string[], seen: Map<string, string[]>): Command {
  const word = words[0];
  if (words.length === 1 || word === undefined) return program;
  const there = program.commands.find((command) => command.name() === word);
  if (there !== undefined) return there;
  const group = newCommand(word, GLOBAL_OPTIONS, seen).enablePositionalOptions();
  program.addCommand(group);
  return group;
}

function newCommand(name: string, specs: OptionSpecs, seen: Map<string, string[]>): Command {
  const command = new Command(name).helpOption(false).helpCommand(false).exitOverride();
  command.configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} });
  for (const spec of Object.values(specs)) {
    const option = newOption(spec);
    command.addOption(option);
    command.on(`option:${option.name()}`, (value: string | null) => {
      const values = seen.get(spec.flag) ?? [];
      values.push(value ?? '');
      seen.set(spec.flag, values);
    });
  }
  return command;
}

function newOption(spec: OptionSpec): Option {
  const short = spec.short === undefined ? '' : `-${spec.short}, `;
  const value = spec.kind === 'flag' ? '' : ` <${spec.value ?? spec.choices?.join('|')}>`;
  const option = new Option(`${short}--${spec.flag}${value}`);
  // `--no-owner` is a flag of its own here, not the contrary of `--owner`.
  option.negate = false;
  return option;
}

/** Runs commander; returns the command at which it stopped to show help, if it did. */
function parse(program: Command, args: readonly string[]): { command: Command } | undefined {
  let at = program;
  for (const command of [program, ...program.commands]) {
    command.hook('preSubcommand', (_parent, child) => {
      at = child;
    });
  }
  try {
    program.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code !== 'commander.help') throw usageError(error, at);
    return { command: at };
  }
  return undefined;
}

function usageError(error: CommanderError, at: Command): PenstockError {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const near = /Did you mean (?:one of )?(.*)\?\)/.exec(rest.join(' '))?.[1];
  const group = error.code === 'commander.unknownCommand' && at.parent ? `${wordsOf(at)} ` : '';
  const hint = near === undefined ? commandHint(wordsOf(at)) : `did you mean ${group}${near}?`;
  return new PenstockError('USAGE', usageMessage(error, toDisplay(first), group), { hint });
}

function usageMessage(error: CommanderError, message: string, group: string): string {
  const quoted = /'(.*)'/.exec(message)?.[1] ?? message;
  if (error.code === 'commander.unknownCommand') return `unknown command: ${group}${quoted}`;
  if (error.code === 'commander.unknownOption') return `unknown option: ${quoted}`;
  if (error.code !== 'commander.optionMissingArgument') return message;
  const [, flag, value] = /(--\S+) <(.*)>/.exec(quoted) ?? [];
  return `${flag} needs a value: ${value}`;
}

/** `key add` of a command of commander; '' of the program. */
function wordsOf(command: Command | undefined): string {
  const words: string[] = [];
  for (let at = command; at?.parent; at = at.parent) words.unshift(at.name());
  return words.join(' ');
}
