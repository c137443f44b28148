/**
 * The rows of the table for making a repository, backing up and restoring.
 */
import type { CommandSpec, OptionSpecs } from './types.ts';

/** Options that bound what a pipe takes of the machine (U9). */
export const PIPE_OPTIONS = {
  memoryBytes: {
    flag: 'memory',
    kind: 'size',
    value: 'SIZE',
    environment: 'PENSTOCK_MEMORY',
    defaultHelp: 'by the number of threads',
    help: "the size of the pipe's shared memory, which bounds what the command uses",
  },
  threads: {
    flag: 'threads',
    kind: 'count',
    value: 'N',
    min: 1,
    max: 256,
    environment: 'PENSTOCK_THREADS',
    defaultHelp: 'one for each processor',
    help: 'how many threads do the work',
  },
} as const satisfies OptionSpecs;

export const BACKUP_COMMANDS = {
  init: {
    summary: 'make a repository',
    description: [
      'Makes an empty repository at --repo. It is encrypted with a key that the passphrase ' +
        'opens. Whoever loses every passphrase loses the data: there is no other way in.',
    ],
    positionals: {},
    options: {
      noEncryption: {
        flag: 'no-encryption',
        kind: 'flag',
        help: 'store the data readable by whoever can read the repository; needs no passphrase',
      },
    },
    examples: [
      {
        line: 'penstock init --repo /mnt/backup',
        help: 'make an encrypted repository, asking for a passphrase',
      },
      {
        line: 'PENSTOCK_PASSPHRASE_FILE=~/.penstock-pass penstock init',
        help: 'take the passphrase from a file',
      },
    ],
  },

  backup: {
    summary: 'back up files and directories into a new archive',
    description: [
      'Stores every PATH with everything below it in one archive. What the repository holds ' +
        'already is not stored again, and files that are unchanged since the last archive of the ' +
        'same name are not read again. A repository that is not there yet is made.',
      'Patterns without a slash match a name in any directory; patterns with one match the ' +
        'whole path, where `**` stands for any number of directories. --include takes items that ' +
        'an --exclude would leave out.',
      'Interrupt it at any moment: the next run continues from what is safe.',
    ],
    positionals: {
      paths: { kind: 'path', value: 'PATH', many: true, required: true, help: 'what to back up' },
    },
    options: {
      name: {
        flag: 'name',
        kind: 'text',
        value: 'NAME',
        defaultHelp: 'made from the host and the paths',
        help: 'the name under which archives of the same source follow each other',
      },
      full: { flag: 'full', kind: 'flag', help: 'read every file again, even unchanged ones' },
      pool: {
        flag: 'pool',
        kind: 'text',
        value: 'POOL',
        environment: 'PENSTOCK_POOL',
        defaultHelp: "the repository's own storage",
        help: 'store the data on volumes of this pool',
      },
      each: {
        flag: 'each',
        kind: 'flag',
        conflicts: ['name'],
        help: 'make one archive of each PATH, all at the same time',
      },
      dryRun: {
        flag: 'dry-run',
        short: 'n',
        kind: 'flag',
        help: 'say what would be stored; store nothing',
      },
      exclude: {
        flag: 'exclude',
        short: 'e',
        kind: 'pattern',
        value: 'GLOB',
        many: true,
        help: 'leave out what matches',
      },
      excludeFrom: {
        flag: 'exclude-from',
        kind: 'path',
        value: 'FILE',
        many: true,
        help: 'leave out what matches a pattern in this file, one a line; # begins a comment',
      },
      include: {
        flag: 'include',
        kind: 'pattern',
        value: 'GLOB',
        many: true,
        help: 'take what matches even if it is excluded',
      },
      ignoreFile: {
        flag: 'ignore-file',
        kind: 'pattern',
        value: 'NAME',
        many: true,
        help: 'obey files of this name in each directory, such as .gitignore',
      },
      maxSizeBytes: {
        flag: 'max-size',
        kind: 'size',
        value: 'SIZE',
        help: 'leave out larger files',
      },
      newerThanMs: {
        flag: 'newer-than',
        kind: 'time',
        value: 'TIME',
        help: 'leave out files last changed before this time or longer ago than this age',
      },
      olderThanMs: {
        flag: 'older-than',
        kind: 'time',
        value: 'TIME',
        help: 'leave out files last changed after this time or more recently than this age',
      },
      oneFileSystem: {
        flag: 'one-file-system',
        short: 'x',
        kind: 'flag',
        help: 'do not enter other file systems that are mounted below a PATH',
      },
      ...PIPE_OPTIONS,
      level: {
        flag: 'level',
        kind: 'count',
        value: '0-19',
        min: 0,
        max: 19,
        defaultHelp: 'chosen for speed',
        help: 'how hard to compress (zstd); 0: not at all',
      },
      protectMs: {
        flag: 'protect',
        kind: 'duration',
        value: 'TIME',
        help: 'for so long the archive cannot be forgotten, whoever asks for it',
      },
      checkpointIntervalMs: {
        flag: 'checkpoint-interval',
        kind: 'duration',
        value: 'TIME',
        defaultHelp: '1m',
        help: 'how often a partial archive is written, from which an interrupted backup continues',
      },
    },
    examples: [
      {
        line: 'penstock backup ~/documents',
        help: 'back up one directory into the default repository',
      },
      {
        line:
          "penstock backup / --repo /mnt/backup --one-file-system --exclude '*.tmp' --exclude " +
          '/var/cache',
        help: 'back up a system to another disk, leaving some of it out',
      },
      {
        line: 'penstock backup ~/src --ignore-file .gitignore --max-size 1G',
        help: 'leave out what git ignores, and very large files',
      },
      { line: 'penstock backup ~/documents --dry-run --verbose', help: 'see what would be stored' },
      {
        line: 'penstock backup --each /srv/* --pool tapes',
        help: 'several archives at once onto the volumes of a pool',
      },
    ],
    partial: 'the archive was made, but some items could not be read',
  },

  restore: {
    summary: 'restore an archive, or some of its paths',
    description: [
      'Writes the archive, or only the named paths with everything below them, under --target. ' +
        'A path of the archive keeps its whole name below it: /home/me/notes becomes ' +
        'TARGET/home/me/notes. Nothing is ever written outside the target.',
      'ARCHIVE is an id, a unique prefix of one, or `latest`.',
    ],
    positionals: {
      archive: {
        kind: 'text',
        value: 'ARCHIVE',
        required: true,
        help: 'an id, a unique prefix of one, or `latest`',
      },
      paths: {
        kind: 'pattern',
        value: 'PATH',
        many: true,
        help: 'paths in the archive; everything if none is given',
      },
    },
    options: {
      target: {
        flag: 'target',
        short: 't',
        kind: 'path',
        value: 'DIR',
        required: true,
        help: 'the directory to restore into; it is made if it is not there',
      },
      overwrite: {
        flag: 'overwrite',
        kind: 'choice',
        choices: ['never', 'always', 'newer'],
        default: 'never',
        help: 'what to do with files that are there: keep, replace, or replace older ones',
      },
      dryRun: {
        flag: 'dry-run',
        short: 'n',
        kind: 'flag',
        help: 'say what would be written; write nothing',
      },
      noOwner: { flag: 'no-owner', kind: 'flag', help: 'do not restore owners and groups' },
      name: {
        flag: 'name',
        kind: 'text',
        value: 'NAME',
        help: 'with `latest`: the latest archive of this name',
      },
      ...PIPE_OPTIONS,
    },
    examples: [
      {
        line: 'penstock restore latest --target /tmp/restored',
        help: 'restore everything of the last archive',
      },
      {
        line: 'penstock restore 3fa9c1 /home/me/notes --target /tmp/restored',
        help: 'restore one subtree',
      },
      {
        line: 'penstock restore latest --target / --overwrite newer',
        help: 'restore in place, keeping what is newer',
      },
    ],
    partial: 'some items could not be restored; the rest was',
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
