/**
 * The whole command line as one document: the manual page (roff) and docs/cli.md (Markdown).
 *
 * Contract: pure; made from the table alone. docs/cli.md is kept equal to `markdownText` by a test.
 */
import {
  type CommandDescription,
  type Definition,
  describeCommand,
  describeEnvironment,
  describeExits,
  describeGlobalOptions,
} from './describe.ts';
import { COMMAND_NAMES, PROGRAM } from './table.ts';

/** The manual page `penstock(1)`. */
export function manualText(version: string): string {
  const lines = [
    `.TH ${PROGRAM.name.toUpperCase()} 1 "" "${PROGRAM.name} ${version}" "User Commands"`,
    '.SH NAME',
    `${PROGRAM.name} \\- ${roff(PROGRAM.summary)}`,
    '.SH SYNOPSIS',
    `.B ${PROGRAM.name}`,
    '\\fICOMMAND\\fR [\\fIOPTION\\fR\\&...] [\\fIARGUMENT\\fR\\&...]',
    '.SH COMMANDS',
    ...COMMAND_NAMES.flatMap((name) => manualCommand(describeCommand(name))),
    '.SH OPTIONS OF EVERY COMMAND',
    ...manualDefinitions(describeGlobalOptions()),
    '.SH ENVIRONMENT',
    ...manualDefinitions(describeEnvironment()),
    '.SH EXIT STATUS',
    ...manualDefinitions(describeExits()),
  ];
  return `${lines.join('\n')}\n`;
}

function manualCommand(command: CommandDescription): string[] {
  return [
    `.SS "${roff(command.usage)}"`,
    ...command.description.flatMap((paragraph, index) => [
      ...(index > 0 ? ['.PP'] : []),
      roff(paragraph),
    ]),
    ...manualDefinitions([...command.arguments, ...command.options]),
    '.PP',
    'Examples:',
    ...command.examples.flatMap(({ line, help }) => [
      '.PP',
      `${roff(help)}:`,
      '.RS 4',
      '.nf',
      roff(line),
      '.fi',
      '.RE',
    ]),
  ];
}

function manualDefinitions(definitions: readonly Definition[]): string[] {
  return definitions.flatMap(({ term, help }) => ['.TP', `.B ${roff(term)}`, roff(help)]);
}

/** Text for roff: special characters as they are, and no line that looks like a request. */
function roff(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('"', '\\(dq')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('…', '\\&...');
  return escaped.startsWith('.') ? `\\&${escaped}` : escaped;
}

/** docs/cli.md. */
export function markdownText(): string {
  const lines = [
    '# The command line',
    '',
    'Made from the table of options by `penstock help --markdown > docs/cli.md`; a test compares.',
    '',
    '| command | does |',
    '|---|---|',
    ...COMMAND_NAMES.map((name) => {
      const { summary } = describeCommand(name);
      return `| [\`${name}\`](#${anchor(name)}) | ${cell(summary)} |`;
    }),
    '',
    '## Options of every command',
    '',
    'They may stand before or after the name of the command.',
    '',
    ...markdownTable('option', describeGlobalOptions()),
    '## Environment',
    '',
    ...markdownTable('variable', describeEnvironment()),
    '## Exit status',
    '',
    ...markdownTable('status', describeExits()),
    ...COMMAND_NAMES.flatMap((name) => markdownCommand(describeCommand(name))),
  ];
  return `${lines.join('\n').trimEnd()}\n`;
}

function markdownCommand(command: CommandDescription): string[] {
  return [
    `## ${command.name}`,
    '',
    '```',
    command.usage,
    '```',
    '',
    ...command.description.flatMap((paragraph) => [paragraph, '']),
    ...markdownTable('argument', command.arguments),
    ...markdownTable('option', command.options),
    '```sh',
    ...command.examples.flatMap(({ line, help }) => [`# ${help}`, line]),
    '```',
    '',
  ];
}

function markdownTable(title: string, definitions: readonly Definition[]): string[] {
  if (definitions.length === 0) return [];
  const rows = definitions.map(({ term, help }) => `| \`${cell(term)}\` | ${cell(help)} |`);
  return [`| ${title} | meaning |`, '|---|---|', ...rows, ''];
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function anchor(name: string): string {
  return name.replaceAll(' ', '-');
}
