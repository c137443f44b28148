/**
 * The rows of the table for keeping a repository in order: checking, retention, keys.
 */
import { PIPE_OPTIONS } from './table-backup.ts';
import type { CommandSpec, OptionSpecs } from './types.ts';

const keep = <F extends string>(flag: F, help: string) =>
  ({ flag, kind: 'count', value: 'N', min: 1, help }) as const;

const KEEP_OPTIONS = {
  keepLast: keep('keep-last', 'keep the last N archives'),
  keepHourly: keep(
    'keep-hourly',
    'keep the last archive of each of the last N hours that have one',
  ),
  keepDaily: keep('keep-daily', 'keep the last archive of each of the last N days that have one'),
  keepWeekly: keep(
    'keep-weekly',
    'keep the last archive of each of the last N weeks that have one',
  ),
  keepMonthly: keep(
    'keep-monthly',
    'keep the last archive of each of the last N months that have one',
  ),
  keepYearly: keep(
    'keep-yearly',
    'keep the last archive of each of the last N years that have one',
  ),
  keepWithinMs: {
    flag: 'keep-within',
    kind: 'duration',
    value: 'TIME',
    help: 'keep all archives that are not older than this',
  },
} as const satisfies OptionSpecs;

const DRY_RUN = {
  flag: 'dry-run',
  short: 'n',
  kind: 'flag',
  help: 'say what would be done; do nothing',
} as const;

/** Options of `prune`, which `forget --prune` takes too. */
const PRUNE_OPTIONS = {
  graceMs: {
    flag: 'grace',
    kind: 'duration',
    value: 'TIME',
    defaultHelp: '15m where other sessions were alive',
    help: 'how long condemned data stays before it is deleted',
  },
  maxUnusedPercent: {
    flag: 'max-unused',
    kind: 'percent',
    value: 'PERCENT',
    default: '5',
    help: 'how much of what is stored may be unused before chunks are rewritten',
  },
} as const satisfies OptionSpecs;

export const UPKEEP_COMMANDS = {
  check: {
    summary: 'check that everything stored is there and whole',
    description: [
      'Checks that every archive, index segment and chunk is there and that they agree. With ' +
        '--read-data also reads every block and checks its seal and every blob. Names what is ' +
        'damaged and which archives and paths it concerns.',
      'Damaged blocks are noted: the next backup stores anew what it still finds of them, unchanged ' +
        'files too. Archives that need it then restore again, and `penstock prune` lets the ' +
        'damaged copies go. A chunk that is damaged beside its blocks it stores anew.',
    ],
    positionals: {},
    options: {
      readData: { flag: 'read-data', kind: 'flag', help: 'read and verify all data too' },
      ...PIPE_OPTIONS,
    },
    examples: [
      { line: 'penstock check', help: 'a quick check' },
      { line: 'penstock check --read-data', help: 'read everything' },
    ],
  },

  forget: {
    summary: 'remove archives by rules or by id',
    description: [
      'Removes the archives that no keep rule keeps, separately for each name, or the archives ' +
        'that are named. The data stays until `prune`.',
    ],
    positionals: {
      archives: {
        kind: 'text',
        value: 'ARCHIVE',
        many: true,
        help: 'ids or unique prefixes of archives to remove',
      },
    },
    options: {
      ...KEEP_OPTIONS,
      name: { flag: 'name', kind: 'text', value: 'NAME', help: 'only archives of this name' },
      dryRun: DRY_RUN,
      prune: { flag: 'prune', kind: 'flag', help: 'give the space back afterwards' },
      ...PRUNE_OPTIONS,
    },
    needsOneOf: [
      'archives',
      'keepLast',
      'keepHourly',
      'keepDaily',
      'keepWeekly',
      'keepMonthly',
      'keepYearly',
      'keepWithinMs',
    ],
    examples: [
      {
        line: 'penstock forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune',
        help: 'a year of archives, the older the fewer',
      },
      { line: 'penstock forget --keep-within 30d --dry-run', help: 'see what would be removed' },
      { line: 'penstock forget 3fa9c1', help: 'remove one archive' },
    ],
  },

  prune: {
    summary: 'give back the space of data that no archive needs',
    description: [
      'Finds data that no archive needs, condemns it, and deletes it once no running session ' +
        'can need it. Safe beside running backups.',
    ],
    positionals: {},
    options: { dryRun: DRY_RUN, ...PRUNE_OPTIONS },
    examples: [
      { line: 'penstock prune', help: 'give space back' },
      { line: 'penstock prune --max-unused 0', help: 'give back as much as can be' },
    ],
  },

  'key list': {
    summary: 'list the passphrases of the repository',
    description: [
      'Lists the keys: id, label, when and where each was made. Each has its own passphrase.',
    ],
    positionals: {},
    options: {},
    examples: [{ line: 'penstock key list', help: 'list them' }],
  },

  'key add': {
    summary: 'add a passphrase',
    description: ['Adds a passphrase that opens the repository like the others.'],
    positionals: {},
    options: {
      label: { flag: 'label', kind: 'text', value: 'TEXT', help: 'whose it is or what it is for' },
    },
    examples: [{ line: "penstock key add --label 'in the safe'", help: 'add one' }],
  },

  'key remove': {
    summary: 'remove a passphrase',
    description: ['Removes a passphrase. The last one cannot be removed.'],
    positionals: {
      id: {
        kind: 'text',
        value: 'ID',
        required: true,
        help: 'an id from `key list`, or a unique prefix of one',
      },
    },
    options: {},
    examples: [{ line: 'penstock key remove 7c1e', help: 'remove one' }],
  },

  'key passwd': {
    summary: 'change the passphrase',
    description: ['Replaces the passphrase with which the repository was opened by a new one.'],
    positionals: {},
    options: {},
    examples: [{ line: 'penstock key passwd', help: 'asks for the old one, then for the new one' }],
  },

  'key rotate': {
    summary: 'use a new data key for what is written from now on',
    description: [
      'Makes a new data key. What is stored already stays readable with the earlier ones; all ' +
        'passphrases stay.',
    ],
    positionals: {},
    options: {},
    examples: [{ line: 'penstock key rotate', help: 'make a new data key' }],
  },

  'catalog rebuild': {
    summary: "make this machine's catalog again, and lost index segments too",
    description: [
      'Makes the catalog again from the repository. Index segments and map records that are ' +
        'missing or damaged are made again from the chunks.',
      'With --volumes, what is known of volumes is made again from what is on them, in any order: of ' +
        'images in a folder, of the tapes in drives (iscsi://HOST/TARGET/LUN), or with --changer of all ' +
        'tapes of a library. Where --repo holds no repository yet, it is made from their labels: the ' +
        'volumes and the passphrase are enough. Volumes may also be given one after the other: run the ' +
        'command again with the next tape in the drive. Begin with the newest one, which has the keys ' +
        'that came last.',
    ],
    positionals: {},
    options: {
      volumes: {
        flag: 'volumes',
        kind: 'path',
        value: 'PLACE',
        many: true,
        help: 'take in the volumes of this folder, or drive',
      },
      changer: {
        flag: 'changer',
        kind: 'text',
        value: 'ADDRESS',
        help: 'the library that brings tapes to the drive: take in all of them',
      },
      drive: {
        flag: 'drive',
        kind: 'count',
        min: 1,
        value: 'NUMBER',
        many: true,
        help:
          'which of the drives of the library it is, in the order of their addresses; once for each drive in --volumes, ' +
          'where the library does not tell',
      },
    },
    examples: [
      { line: 'penstock catalog rebuild', help: 'make it again' },
      {
        line: 'penstock catalog rebuild --volumes /srv/tapes --repo /srv/new',
        help: 'the repository is lost, its volumes are not',
      },
      {
        line: 'penstock catalog rebuild --volumes iscsi://nas/iqn.2001-04.com.example:drive/1',
        help: 'take in the tape that is in a drive',
      },
    ],
  },

  upgrade: {
    summary: 'bring a repository to the newest format',
    description: [
      'Brings the repository to the newest format version. There is nothing to do where it has ' +
        'it already.',
    ],
    positionals: {},
    options: { dryRun: DRY_RUN },
    examples: [{ line: 'penstock upgrade --dry-run', help: 'see whether there is anything to do' }],
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
