/**
 * The rows of the table for looking at what is stored.
 */
import type { CommandSpec, PositionalSpec } from './types.ts';

const ARCHIVE_HELP = 'an id, a unique prefix of one, or `latest`';

const ARCHIVE = {
  kind: 'text',
  value: 'ARCHIVE',
  required: true,
  help: ARCHIVE_HELP,
} as const satisfies PositionalSpec;

export const BROWSE_COMMANDS = {
  archives: {
    summary: 'list the archives',
    description: [
      'Lists the archives of the repository, oldest first: id, time, name, host, files, size ' +
        'and paths.',
    ],
    positionals: {},
    options: {
      name: { flag: 'name', kind: 'text', value: 'NAME', help: 'only archives of this name' },
    },
    examples: [
      { line: 'penstock archives', help: 'list all archives' },
      { line: 'penstock archives --json | jq -r .id', help: 'their ids, for a program' },
    ],
  },

  ls: {
    summary: 'list what an archive contains',
    description: [
      'Lists the paths of an archive, or of one directory in it, in the order in which they are ' +
        'stored.',
    ],
    positionals: {
      archive: ARCHIVE,
      path: { kind: 'pattern', value: 'PATH', help: 'a path in the archive' },
    },
    options: {
      long: {
        flag: 'long',
        short: 'l',
        kind: 'flag',
        help: 'show mode, owner, size, time and link targets',
      },
      recursive: {
        flag: 'recursive',
        short: 'R',
        kind: 'flag',
        help: 'list everything below, not only the directory',
      },
    },
    examples: [
      { line: 'penstock ls latest', help: 'what the last archive holds at its top' },
      { line: 'penstock ls latest /home/me -l', help: 'one directory, with details' },
    ],
  },

  cat: {
    summary: 'write a stored file to standard output',
    description: [
      'Writes the content of one file of an archive to standard output. Nothing is written that ' +
        'was not verified.',
    ],
    positionals: {
      archive: ARCHIVE,
      path: { kind: 'pattern', value: 'PATH', required: true, help: 'a file in the archive' },
    },
    options: {},
    examples: [{ line: 'penstock cat latest /etc/fstab > fstab', help: 'get one file back' }],
  },

  diff: {
    summary: 'show what differs between two archives',
    description: [
      'Lists the paths that were added (+), removed (-) or modified (M) from archive A to ' +
        'archive B, and what was modified.',
    ],
    positionals: {
      from: { kind: 'text', value: 'A', required: true, help: ARCHIVE_HELP },
      to: { kind: 'text', value: 'B', required: true, help: ARCHIVE_HELP },
    },
    options: {},
    examples: [{ line: 'penstock diff 3fa9c1 latest', help: 'what changed since an archive' }],
  },

  find: {
    summary: 'find paths in all archives',
    description: [
      'Lists what matches the pattern in any archive. A pattern without a slash matches names, ' +
        'one with a slash whole paths, or their ends when it does not begin with one. One that ' +
        'ends with a slash matches directories only.',
    ],
    positionals: {
      pattern: { kind: 'pattern', value: 'PATTERN', required: true, help: 'a glob' },
    },
    options: {
      name: { flag: 'name', kind: 'text', value: 'NAME', help: 'only in archives of this name' },
      long: { flag: 'long', short: 'l', kind: 'flag', help: 'show mode, owner, size and time' },
    },
    examples: [
      { line: "penstock find '*.kdbx'", help: 'every version of a kind of file' },
      {
        line: "penstock find '/etc/**/*.conf' --name laptop",
        help: 'below one directory, in archives of one name',
      },
    ],
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
