/**
 * The one table of commands and options (style rule 5): data only.
 *
 * Contract: the parser, environment names, help, shell completion, the manual page and docs/cli.md
 * come from here and nowhere else. A key is the name of the value in code, with its unit; `flag` is
 * what the user writes. There is no configuration file yet; its schema will come from here too.
 */
import { LIMITS } from '../base/limits.ts';
import { BACKUP_COMMANDS } from './table-backup.ts';
import { BROWSE_COMMANDS } from './table-browse.ts';
import { MACHINE_COMMANDS } from './table-machines.ts';
import { MEDIA_COMMANDS } from './table-media.ts';
import { PIPE_COMMANDS } from './table-pipes.ts';
import { SELF_COMMANDS } from './table-self.ts';
import { UPKEEP_COMMANDS } from './table-upkeep.ts';
import type { CommandSpec, OptionSpecs, ValuesOf } from './types.ts';

export const PROGRAM = {
  name: 'penstock',
  summary: 'backs up, restores and moves data as fast as the hardware allows',
} as const;

/** Options of every command; they may stand before or after its name. */
export const GLOBAL_OPTIONS = {
  repo: {
    flag: 'repo',
    kind: 'path',
    value: 'URL',
    environment: 'PENSTOCK_REPO',
    defaultHelp: '~/.local/share/penstock/repo',
    help: 'the repository: a directory, or penstock://HOST[:PORT]/NAME on a paired machine',
  },
  state: {
    flag: 'state',
    kind: 'path',
    value: 'DIR',
    environment: 'PENSTOCK_STATE',
    defaultHelp: '~/.local/state/penstock',
    help: "the folder of this machine's catalog and other state",
  },
  agents: {
    flag: 'agents',
    kind: 'count',
    value: 'N',
    min: 1,
    max: LIMITS.agentsMax,
    environment: 'PENSTOCK_AGENTS',
    defaultHelp: 'chosen by how far it is',
    help: 'how many connections carry the data where another machine is involved',
  },
  localAddresses: {
    flag: 'local-address',
    kind: 'text',
    value: 'ADDR',
    many: true,
    defaultHelp: "the system's choice",
    help: 'an address of this machine from which another one is reached; several take turns',
  },
  limitRateBytes: {
    flag: 'limit-rate',
    kind: 'size',
    value: 'SIZE',
    min: 1,
    environment: 'PENSTOCK_LIMIT_RATE',
    defaultHelp: 'none',
    help: 'the most bytes a second over all connections to another machine',
  },
  reconnectMs: {
    flag: 'reconnect-limit',
    kind: 'duration',
    value: 'TIME',
    environment: 'PENSTOCK_RECONNECT_LIMIT',
    defaultHelp: '1m',
    help: 'how long to wait for another machine that is out of reach',
  },
  mountWaitMs: {
    flag: 'mount-wait',
    kind: 'duration',
    value: 'TIME',
    environment: 'PENSTOCK_MOUNT_WAIT',
    defaultHelp: 'as long as it takes on a terminal, else not at all',
    help: 'how long to wait for a tape that is asked for because it is not in its drive',
  },
  json: {
    flag: 'json',
    kind: 'flag',
    help: 'write one JSON object a line to standard output; the last one is the summary',
  },
  quiet: {
    flag: 'quiet',
    short: 'q',
    kind: 'flag',
    conflicts: ['verbose'],
    help: 'no progress, notes or summary; only results, warnings and errors',
  },
  verbose: {
    flag: 'verbose',
    short: 'v',
    kind: 'flag',
    help: 'say more: each item, and where a defect was found',
  },
  noColor: {
    flag: 'no-color',
    kind: 'flag',
    help: 'no colours (also when NO_COLOR is set or the output is no terminal)',
  },
  help: { flag: 'help', short: 'h', kind: 'flag', help: 'show help and examples' },
  version: { flag: 'version', short: 'V', kind: 'flag', help: 'show the version' },
} as const satisfies OptionSpecs;

/** Variables of the environment that are no options. */
export const ENVIRONMENT = {
  PENSTOCK_PASSPHRASE: 'the passphrase that opens the repository',
  PENSTOCK_PASSPHRASE_FILE: 'a file with the passphrase; one line end at its end is not part of it',
  PENSTOCK_NEW_PASSPHRASE: 'the new passphrase, for `key add` and `key passwd`',
  PENSTOCK_NEW_PASSPHRASE_FILE: 'a file with the new passphrase',
  PENSTOCK_CHAP_SECRET_FILE:
    'a file with the secret for the target of a tape drive, for the user that its address names',
  PENSTOCK_CHAP_SECRET: 'the secret itself',
  PENSTOCK_CHAP_TARGET_SECRET_FILE:
    'a file with the secret with which that target has to prove itself',
  PENSTOCK_CHAP_TARGET_SECRET: 'the secret itself',
  PENSTOCK_CHAP_TARGET_USER: 'the name with which that target has to prove itself',
  NO_COLOR: 'no colours, whatever its value is, if it is not empty',
  XDG_DATA_HOME: 'where the default repository lies, instead of ~/.local/share',
  XDG_STATE_HOME: 'where the state folder lies, instead of ~/.local/state',
} as const;

/** Exit statuses, as help shows them. */
export const EXIT_HELP = {
  0: 'all done',
  1: 'failed',
  2: 'the command line is wrong',
  3: 'done, but something was left out that could not be read, written or removed',
  130: 'interrupted',
} as const;

/** In the order in which help lists them. */
export const COMMANDS = {
  ...BACKUP_COMMANDS,
  ...BROWSE_COMMANDS,
  ...UPKEEP_COMMANDS,
  ...MEDIA_COMMANDS,
  ...MACHINE_COMMANDS,
  ...PIPE_COMMANDS,
  ...SELF_COMMANDS,
} as const satisfies Readonly<Record<string, CommandSpec>>;

/** Such as `backup` or `key add`. */
export type CommandName = keyof typeof COMMANDS;

export type GlobalValues = ValuesOf<typeof GLOBAL_OPTIONS>;
/** The options of a command, the global ones among them; its own go before global ones. */
export type OptionValues<C extends CommandName> = C extends CommandName
  ? Omit<GlobalValues, keyof (typeof COMMANDS)[C]['options']> &
      ValuesOf<(typeof COMMANDS)[C]['options']>
  : never;
export type PositionalValues<C extends CommandName> = ValuesOf<(typeof COMMANDS)[C]['positionals']>;

/** What a command line says, ready for use. */
export interface ParsedCommand<C extends CommandName = CommandName> {
  readonly command: C;
  readonly options: OptionValues<C>;
  readonly positionals: PositionalValues<C>;
}

/** The command's row, as the general shape. */
export function commandSpec(name: CommandName): CommandSpec {
  return COMMANDS[name];
}

export const COMMAND_NAMES: readonly CommandName[] = Object.keys(COMMANDS) as CommandName[];
