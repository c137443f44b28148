/**
 * Completion scripts for bash, zsh and fish.
 *
 * Contract: pure; made from the table alone. The scripts stand by themselves (bash needs no further
 * package) and never start penstock, so that completing is quick and asks for no passphrase.
 * An option of one name has one kind in all commands (a test holds the table to it).
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are the shells' own
import { commandsBelow } from './describe.ts';
import { COMMAND_NAMES, type CommandName, commandSpec, GLOBAL_OPTIONS, PROGRAM } from './table.ts';
import type { OptionSpec, PositionalSpec } from './types.ts';

export type Shell = 'bash' | 'zsh' | 'fish';

/** The script for `shell`. */
export function completionScript(shell: Shell): string {
  const lines = { bash, zsh, fish }[shell]();
  return `${lines.join('\n')}\n`;
}

const GLOBALS: readonly OptionSpec[] = Object.values(GLOBAL_OPTIONS);

function optionsOf(name: CommandName): readonly OptionSpec[] {
  const own = Object.values(commandSpec(name).options);
  const flags = new Set(own.map(({ flag }) => flag));
  return [...own, ...GLOBALS.filter(({ flag }) => !flags.has(flag))];
}

function positionalsOf(name: CommandName): readonly PositionalSpec[] {
  return Object.values(commandSpec(name).positionals);
}

/** Words that begin commands of several words, such as `key`; `pair` is a command as well. */
function groups(): string[] {
  const first = COMMAND_NAMES.filter((name) => name.includes(' ')).map(firstWord);
  return [...new Set(first)];
}

/** The commands below a group, itself left out. */
function subcommands(group: string): readonly CommandName[] {
  return commandsBelow(group).filter((name) => name !== group);
}

function firstWord(name: string): string {
  return name.split(' ')[0] ?? name;
}

function lastWord(name: string): string {
  return name.split(' ').at(-1) ?? name;
}

function topWords(): string[] {
  return [...new Set(COMMAND_NAMES.map(firstWord))];
}

function flagsOf(option: OptionSpec): string[] {
  return [...(option.short === undefined ? [] : [`-${option.short}`]), `--${option.flag}`];
}

/** For a shell's single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function bash(): string[] {
  const all = new Map(
    COMMAND_NAMES.flatMap(optionsOf).map((option) => [option.flag, option] as const),
  );
  const withValue = [...all.values()].filter(({ kind }) => kind !== 'flag');
  const byFlag = (wanted: (option: OptionSpec) => boolean): string =>
    withValue.filter(wanted).flatMap(flagsOf).join('|');
  const other = byFlag(({ kind }) => kind !== 'path' && kind !== 'choice');
  return [
    `# bash completion of ${PROGRAM.name}; to use it: source <(${PROGRAM.name} completion bash)`,
    '_penstock_files() {',
    '  compopt -o filenames 2>/dev/null',
    "  local IFS=$'\\n'",
    '  COMPREPLY=($(compgen -f -- "$cur"))',
    '}',
    '_penstock() {',
    '  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}',
    '  local command= skip= words= files= word i',
    '  COMPREPLY=()',
    '  # `--option=value` arrives as three words',
    '  if [[ $cur == = ]]; then cur=',
    '  elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi',
    '  for ((i = 1; i < COMP_CWORD; i++)); do',
    '    word=${COMP_WORDS[i]}',
    '    if [[ -n $skip ]]; then [[ $word == = ]] || skip=; continue; fi',
    '    case $word in',
    `      ${byFlag(() => true)}) skip=1 ;;`,
    '      -*|=) ;;',
    `      *) case $command in ''|${groups().join('|')})`,
    '        command="$command${command:+ }$word" ;; esac ;;',
    '    esac',
    '  done',
    '  case $prev in',
    `    ${byFlag(({ kind }) => kind === 'path')}) _penstock_files; return ;;`,
    ...withValue
      .filter(({ kind }) => kind === 'choice')
      .map((option) => {
        const choices = quoted((option.choices ?? []).join(' '));
        const reply = `COMPREPLY=($(compgen -W ${choices} -- "$cur"))`;
        return `    ${flagsOf(option).join('|')}) ${reply}; return ;;`;
      }),
    ...(other === '' ? [] : [`    ${other}) return ;;`]),
    '  esac',
    '  case $command in',
    `    '') words=${quoted([...topWords(), ...GLOBALS.flatMap(longFlag)].join(' '))} ;;`,
    ...groups().map((group) => {
      const own = COMMAND_NAMES.find((name) => name === group);
      const options = own === undefined ? [] : optionsOf(own).flatMap(longFlag);
      const words = [...subcommands(group).map(lastWord), ...options].join(' ');
      return `    ${quoted(group)}) words=${quoted(words)} ;;`;
    }),
    ...COMMAND_NAMES.filter((name) => !groups().includes(name)).map(bashCommand),
    // The first argument of a command that is a group as well was taken for a further word of it.
    ...COMMAND_NAMES.filter((name) => groups().includes(name)).map((name) =>
      bashCommand(name).replace(`'${name}')`, `'${name} '*)`),
    ),
    '  esac',
    '  if [[ $cur != -* && -n $files ]]; then _penstock_files; return; fi',
    '  if [[ $cur != -* ]]; then',
    '    local kept= word',
    '    for word in $words; do [[ $word == -* ]] || kept+="$word "; done',
    '    words=$kept',
    '  fi',
    '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
    '}',
    `complete -F _penstock ${PROGRAM.name}`,
  ];
}

function longFlag(option: OptionSpec): string[] {
  return [`--${option.flag}`];
}

function bashCommand(name: CommandName): string {
  const positionals = positionalsOf(name);
  const choices = positionals.flatMap(({ choices }) => choices ?? []);
  const words = [...choices, ...optionsOf(name).flatMap(longFlag)].join(' ');
  const files = positionals.some(({ kind }) => kind === 'path') ? ' files=1' : '';
  return `    ${quoted(name)}) words=${quoted(words)}${files} ;;`;
}

function zsh(): string[] {
  return [
    `#compdef ${PROGRAM.name}`,
    `# zsh completion of ${PROGRAM.name}; to use it: source <(${PROGRAM.name} completion zsh)`,
    '_penstock() {',
    '  local curcontext="$curcontext" state line',
    '  typeset -A opt_args',
    '  _arguments -C \\',
    ...GLOBALS.flatMap(zshOption).map((spec) => `    ${spec} \\`),
    "    '1: :->command' '*:: :->rest'",
    '  case $state in',
    '    command)',
    '      local -a commands=(',
    ...topWords().map((word) => `        ${zshDescription(word)}`),
    '      )',
    '      _describe command commands ;;',
    '    rest)',
    '      case $line[1] in',
    ...COMMAND_NAMES.filter((name) => !name.includes(' ') && !groups().includes(name)).flatMap(
      (name) => [`        ${name})`, ...zshArguments(name, '          '), '          ;;'],
    ),
    ...groups().flatMap(zshGroup),
    '      esac ;;',
    '  esac',
    '}',
    'if [[ ${funcstack[1]} == _penstock ]]; then _penstock "$@"',
    'else compdef _penstock penstock; fi',
  ];
}

function zshDescription(word: string): string {
  const name = COMMAND_NAMES.find((candidate) => candidate === word);
  const below = commandsBelow(word).map(lastWord).join(', ');
  return quoted(`${word}:${name === undefined ? below : commandSpec(name).summary}`);
}

function zshGroup(group: string): string[] {
  const names = subcommands(group);
  return [
    `        ${group})`,
    '          if (( CURRENT == 2 )); then',
    '            local -a commands=(',
    ...names.map(
      (name) => `              ${quoted(`${lastWord(name)}:${commandSpec(name).summary}`)}`,
    ),
    '            )',
    '            _describe command commands',
    '          else',
    '            local word=$words[2]',
    '            shift words; (( CURRENT-- ))',
    '            case $word in',
    ...names.flatMap((name) => [
      `              ${lastWord(name)})`,
      ...zshArguments(name, '                '),
      '                ;;',
    ]),
    ...COMMAND_NAMES.filter((name) => name === group).flatMap((name) => [
      '              *)',
      ...zshArguments(name, '                '),
      '                ;;',
    ]),
    '            esac',
    '          fi ;;',
  ];
}

function zshArguments(name: CommandName, indent: string): string[] {
  const specs = [...optionsOf(name).flatMap(zshOption), ...positionalsOf(name).map(zshPositional)];
  return [
    `${indent}_arguments \\`,
    ...specs.map((spec) => `${indent}  ${spec} \\`),
    `${indent}  && return`,
  ];
}

function zshOption(option: OptionSpec): string[] {
  const help = option.help.replace(/[[\]:\\]/g, '\\$&');
  const value =
    option.kind === 'flag' ? '' : `:${option.value ?? option.flag}:${zshAction(option)}`;
  return flagsOf(option).map((flag) => {
    const equals = value !== '' && flag.startsWith('--') ? '=' : '';
    return quoted(`${option.many === true ? '*' : ''}${flag}${equals}[${help}]${value}`);
  });
}

function zshPositional(positional: PositionalSpec, index: number): string {
  const place = positional.many === true ? '*' : String(index + 1);
  return quoted(`${place}:${positional.value}:${zshAction(positional)}`);
}

function zshAction({ kind, choices }: OptionSpec | PositionalSpec): string {
  if (kind === 'path') return '_files';
  return choices === undefined ? ' ' : `(${choices.join(' ')})`;
}

const FISH_SEEN = '__fish_seen_subcommand_from';

function fish(): string[] {
  const complete = `complete -c ${PROGRAM.name}`;
  return [
    `# fish completion of ${PROGRAM.name}`,
    `${complete} -f`,
    ...GLOBALS.map((option) => `${complete} ${fishOption(option)}`),
    ...topWords().map((word) => {
      const name = COMMAND_NAMES.find((candidate) => candidate === word);
      const help =
        name === undefined
          ? commandsBelow(word).map(lastWord).join(', ')
          : commandSpec(name).summary;
      return `${complete} -n __fish_use_subcommand -a ${word} -d ${fishQuoted(help)}`;
    }),
    ...groups().flatMap((group) => {
      const words = subcommands(group).map(lastWord).join(' ');
      const none = `${FISH_SEEN} ${group}; and not ${FISH_SEEN} ${words}`;
      return subcommands(group).map((name) => {
        const help = fishQuoted(commandSpec(name).summary);
        return `${complete} -n ${fishQuoted(none)} -a ${lastWord(name)} -d ${help}`;
      });
    }),
    ...COMMAND_NAMES.flatMap((name) => {
      const seen = name.split(' ').map((word) => `${FISH_SEEN} ${word}`);
      const condition = `${complete} -n ${fishQuoted(seen.join('; and '))}`;
      return [
        ...Object.values(commandSpec(name).options).map(
          (option) => `${condition} ${fishOption(option)}`,
        ),
        ...positionalsOf(name).flatMap(({ kind, choices }) => {
          if (kind === 'path') return [`${condition} -F`];
          return choices === undefined ? [] : [`${condition} -a ${fishQuoted(choices.join(' '))}`];
        }),
      ];
    }),
  ];
}

function fishOption(option: OptionSpec): string {
  const short = option.short === undefined ? '' : ` -s ${option.short}`;
  const values = option.choices === undefined ? '' : ` -a ${fishQuoted(option.choices.join(' '))}`;
  const value = option.kind === 'flag' ? '' : option.kind === 'path' ? ' -r -F' : ` -x${values}`;
  return `-l ${option.flag}${short}${value} -d ${fishQuoted(option.help)}`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
