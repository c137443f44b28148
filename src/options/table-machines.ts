/**
 * The rows of the table for working with other machines: the monitor and pairing.
 */
import { PIPE_OPTIONS } from './table-backup.ts';
import type { CommandSpec } from './types.ts';

const ACCESS = ['read', 'append', 'full'] as const;

export const MACHINE_COMMANDS = {
  copy: {
    summary: 'copy a tree or a single item, passing over what is the same already',
    description: [
      'Makes the directory TARGET hold what the directory SOURCE holds, with everything that belongs ' +
        'to a file; what else is in TARGET stays. Files of the same size and time of change are passed ' +
        'over, so a copy that was interrupted continues. A SOURCE that is no directory goes into TARGET ' +
        'where that is one, else TARGET is its new path.',
      'One side may be HOST:/path or HOST:PORT:/path on a paired machine, in a folder that it granted ' +
        'with `penstock pair token --copy-path`; a name with a colon on this machine is written ./name. ' +
        '--limit-rate holds what is sent, either way.',
      'A file takes its place only when it is whole. What an interrupted copy had brought of a file of ' +
        '16 MiB or more is checked, and gone on with. Only one copy at a time may go to the same TARGET.',
    ],
    positionals: {
      source: { kind: 'path', value: 'SOURCE', required: true, help: 'what to copy' },
      target: { kind: 'path', value: 'TARGET', required: true, help: 'where to' },
    },
    options: {
      dryRun: {
        flag: 'dry-run',
        short: 'n',
        kind: 'flag',
        help: 'say what would be copied; write nothing',
      },
      noOwner: {
        flag: 'no-owner',
        kind: 'flag',
        help: 'everything that is written belongs to the user who copies',
      },
      numericIds: {
        flag: 'numeric-ids',
        kind: 'flag',
        help: 'between machines: owners by number, not by name',
      },
      sync: {
        flag: 'sync',
        kind: 'flag',
        help: 'end only when all that was copied is on the disk, for which the system is asked once',
      },
      threads: {
        ...PIPE_OPTIONS.threads,
        defaultHelp: 'one for each processor; one for a single file',
      },
    },
    examples: [
      {
        line: 'penstock copy /srv/photos /mnt/disk/photos',
        help: 'copy a tree, or bring it up to date',
      },
      {
        line: 'penstock copy /srv/photos backup.example.org:/srv/copies/photos',
        help: 'to another machine',
      },
      { line: 'penstock copy notes.txt /mnt/disk/', help: 'copy one file into a directory' },
    ],
  },

  serve: {
    summary: 'run the monitor: the daemon through which other machines reach this one',
    description: [
      'Serves until it is told to end (SIGTERM, SIGINT). Only machines that were paired with ' +
        '`penstock pair` get through, each with what it was granted.',
      'The first line of standard output says where it listens and what its fingerprint is; log ' +
        'lines go to standard error.',
    ],
    positionals: {},
    options: {
      listen: {
        flag: 'listen',
        kind: 'text',
        value: 'ADDR:PORT',
        many: true,
        defaultHelp: '0.0.0.0:7420',
        help: 'where to listen; port 0 is any free one',
      },
      repo: {
        flag: 'repo',
        kind: 'path',
        value: 'NAME=DIR',
        many: true,
        help: 'serve the repository in DIR under this name',
      },
      modules: {
        flag: 'module',
        kind: 'text',
        value: 'NAME=COMMAND',
        many: true,
        help: 'a command that pipes may use as a module under this name; words are divided at spaces',
      },
      memoryBytes: {
        flag: 'memory',
        kind: 'size',
        value: 'SIZE',
        min: 1024 * 1024,
        defaultHelp: '1GiB',
        help: 'memory for the buffers of all pipes; what does not fit waits its turn',
      },
      devices: {
        flag: 'device',
        kind: 'text',
        value: 'NAME=COUNT',
        many: true,
        help: 'how many pipes may use a device at the same time; one, where nothing is said',
      },
      log: {
        flag: 'log',
        kind: 'choice',
        choices: ['text', 'json'],
        default: 'text',
        help: 'the form of log lines',
      },
      drainMs: {
        flag: 'drain',
        kind: 'duration',
        value: 'TIME',
        defaultHelp: '30s',
        help: 'how long what runs may go on when it is told to end',
      },
    },
    examples: [
      { line: 'penstock serve --repo home=/srv/penstock/home', help: 'serve one repository' },
      { line: 'penstock serve --listen 127.0.0.1:0 --json', help: 'for a program: any free port' },
    ],
  },
  pair: {
    summary: 'on the client: pair with a server',
    description: [
      'Exchanges certificates with the server that made the token. Afterwards both know each ' +
        "other by their certificates' fingerprints, and `--repo penstock://HOST/NAME` works.",
    ],
    positionals: {
      host: {
        kind: 'text',
        value: 'HOST[:PORT]',
        required: true,
        help: 'the server, port 7420 where none is given',
      },
    },
    options: {
      token: {
        flag: 'token',
        kind: 'text',
        value: 'TOKEN',
        environment: 'PENSTOCK_TOKEN',
        required: true,
        help: 'what `penstock pair token` printed on the server',
      },
      name: {
        flag: 'name',
        kind: 'text',
        value: 'NAME',
        defaultHelp: "the machine's name",
        help: 'what the server is to call this machine',
      },
    },
    examples: [{ line: 'penstock pair backup.example.org --token T', help: 'pair with a server' }],
  },

  'pair token': {
    summary: 'on the server: make a one-time token for a machine that is to be paired',
    description: [
      'Prints a token with which one machine can be paired within the next hour. It carries the ' +
        "server's fingerprint and a secret: hand it over on a way that nobody else can read.",
      'Access `read` lets the machine restore; `append` lets it back up too, but neither delete ' +
        'nor overwrite backups, so that a stolen machine cannot; `full` lets it do everything.',
    ],
    positionals: {},
    options: {
      repo: {
        flag: 'repo',
        kind: 'path',
        value: 'NAME',
        many: true,
        defaultHelp: 'all',
        help: 'a repository, by the name that `serve --repo` gives it, that may be accessed',
      },
      access: {
        flag: 'access',
        kind: 'choice',
        choices: ACCESS,
        default: 'append',
        help: 'what it may do with the repositories',
      },
      quotaBytes: {
        flag: 'quota',
        kind: 'size',
        value: 'SIZE',
        min: 1,
        defaultHelp: 'none',
        help: 'how large it may let each of these repositories grow, all that lies there counted',
      },
      copyPaths: {
        flag: 'copy-path',
        kind: 'path',
        value: 'DIR',
        many: true,
        help: 'a folder of this machine in which `penstock copy` may read and write',
      },
      modules: {
        flag: 'module',
        kind: 'text',
        value: 'NAME',
        many: true,
        help: 'a module of `serve --module` that its pipes may use here, or `unbound`: an end that `penstock attach` takes',
      },
      onward: {
        flag: 'onward',
        kind: 'text',
        value: 'HOST[:PORT]',
        many: true,
        help: 'a server that this machine is paired with, to which its pipes may go on; there they may do what this machine may',
      },
    },
    examples: [
      { line: 'penstock pair token --repo home', help: 'for backups into one repository' },
      { line: 'penstock pair token --repo home --quota 500G', help: 'the same, up to a size' },
      { line: 'penstock pair token --access full', help: "for the administrator's machine" },
    ],
  },

  'pair list': {
    summary: 'list the machines that this one is paired with',
    description: [
      'Lists servers that this machine may use, and clients that may use this machine, with what ' +
        'they were granted.',
    ],
    positionals: {},
    options: {},
    examples: [{ line: 'penstock pair list', help: 'list them' }],
  },

  'pair remove': {
    summary: 'end the pairing with a machine',
    description: [
      'The machine is unknown from now on; connections that it has are ended within a second. On ' +
        'the other machine the pairing stays listed, and is of no use.',
    ],
    positionals: {
      peer: {
        kind: 'text',
        value: 'NAME',
        required: true,
        help: 'a name or fingerprint from `pair list`, or a unique prefix of a fingerprint; `client:NAME` or `server:NAME` where both are',
      },
    },
    options: {},
    examples: [{ line: 'penstock pair remove laptop', help: 'end one' }],
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
