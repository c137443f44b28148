/**
 * Help as text for a terminal: the overview, a group of commands, or one command with examples.
 *
 * Contract: pure; lines are at most `columns` wide where words allow it, and plain text.
 */
import {
  type CommandDescription,
  commandsBelow,
  type Definition,
  describeCommand,
  describeEnvironment,
  describeExits,
  describeGlobalOptions,
} from './describe.ts';
import { COMMAND_NAMES, type CommandName, commandSpec, PROGRAM } from './table.ts';

/** Below this many columns a term's help stands on lines of its own. */
const COLUMNS_MIN = 40;
/** Longer lines are hard to read. */
const COLUMNS_MAX = 100;
const TERM_COLUMNS_MAX = 26;

/** Help about `topic`: '' (the overview), a command, or the first word of several. */
export function helpText(topic: string, columns: number): string | undefined {
  const width = Math.max(COLUMNS_MIN, Math.min(columns, COLUMNS_MAX));
  if (topic === '') return overview(width);
  const names = commandsBelow(topic);
  const name = names.find((candidate) => candidate === topic);
  if (name !== undefined) return commandHelp(describeCommand(name), width);
  return names.length === 0 ? undefined : groupHelp(topic, names, width);
}

function overview(width: number): string {
  return [
    `${PROGRAM.name}: ${PROGRAM.summary}`,
    '',
    `usage: ${PROGRAM.name} COMMAND [OPTION…] [ARGUMENT…]`,
    ...section('commands', commandDefinitions(COMMAND_NAMES), width),
    ...section('options of every command', describeGlobalOptions(), width),
    ...section('environment', describeEnvironment(), width),
    ...section('exit status', describeExits(), width),
    '',
    'examples:',
    ...['backup', 'archives', 'restore'].flatMap((name) => {
      const example = commandSpec(name as CommandName).examples[0];
      return example === undefined ? [] : [`  ${example.line}`];
    }),
    '',
    `Run \`${PROGRAM.name} help COMMAND\` for more about one command.`,
  ].join('\n');
}

function groupHelp(topic: string, names: readonly CommandName[], width: number): string {
  const usage = `usage: ${PROGRAM.name} ${topic} COMMAND [OPTION…] [ARGUMENT…]`;
  return [usage, ...section('commands', commandDefinitions(names), width)].join('\n');
}

function commandDefinitions(names: readonly CommandName[]): Definition[] {
  return names.map((name) => ({ term: name, help: commandSpec(name).summary }));
}

function commandHelp(command: CommandDescription, width: number): string {
  return [
    `${PROGRAM.name} ${command.name}: ${command.summary}`,
    '',
    `usage: ${command.usage}`,
    ...command.description.flatMap((paragraph) => ['', ...wrap(paragraph, width)]),
    ...section('arguments', command.arguments, width),
    ...section('options', command.options, width),
    ...section('options of every command', describeGlobalOptions(command.name), width),
    '',
    'examples:',
    ...command.examples.flatMap(({ line, help }) => [
      ...wrap(`# ${help}`, width - 2).map((text) => `  ${text}`),
      `  ${line}`,
    ]),
    ...section('exit status', command.exits, width),
  ].join('\n');
}

function section(title: string, definitions: readonly Definition[], width: number): string[] {
  if (definitions.length === 0) return [];
  const longest = Math.max(...definitions.map(({ term }) => indent(term).length));
  const termColumns = Math.min(TERM_COLUMNS_MAX, longest);
  const lines = ['', `${title}:`];
  for (const { term, help } of definitions) {
    const [first = '', ...rest] = wrap(help, width - termColumns - 4);
    const shown = indent(term);
    if (shown.length <= termColumns) lines.push(`  ${shown.padEnd(termColumns)}  ${first}`);
    else lines.push(`  ${shown}`, `  ${' '.repeat(termColumns)}  ${first}`);
    for (const line of rest) lines.push(`  ${' '.repeat(termColumns)}  ${line}`);
  }
  return lines;
}

/** Long options without a short one stand below the others' long ones. */
function indent(term: string): string {
  return term.startsWith('--') ? `    ${term}` : term;
}

/** `text` in lines of at most `width` columns, broken at spaces. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}
