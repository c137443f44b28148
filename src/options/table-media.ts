/**
 * The rows of the table for pools and volumes.
 */
import type { CommandSpec } from './types.ts';

const POOL = { kind: 'text', value: 'POOL', required: true, help: 'the name of the pool' } as const;
const OF_POOL = {
  flag: 'pool',
  kind: 'text',
  value: 'POOL',
  help: 'only volumes of this pool',
} as const;
const VOLUME = {
  kind: 'text',
  value: 'VOLUME',
  required: true,
  help: 'the name of the volume, or its id or the beginning of that',
} as const;

export const MEDIA_COMMANDS = {
  'pool add': {
    summary: 'add a pool of volumes to the repository',
    description: [
      'A pool is storage of one kind: its volumes are written one after the other, each from its ' +
        'beginning to its end. The volumes of a tape-image pool are files in the SIMH format (.tap) in ' +
        'a folder; new ones are made as they are needed. Those of a tape pool are tapes in a drive behind ' +
        'iSCSI, which a library may bring: then each is called after its label. `penstock backup --pool ' +
        'POOL` writes to it.',
      'Where the address of a drive names a user, its secret comes from PENSTOCK_CHAP_SECRET_FILE, and ' +
        'that of the target from PENSTOCK_CHAP_TARGET_SECRET_FILE. To targets this machine is ' +
        'iqn.2026-01.net.penstock:HOST, HOST being its name in small letters.',
      'The settings say how the pool is written and cannot be changed.',
    ],
    positionals: { pool: POOL },
    options: {
      kind: {
        flag: 'kind',
        kind: 'choice',
        choices: ['tape-image', 'tape'],
        required: true,
        help: 'what its volumes are',
      },
      path: {
        flag: 'path',
        kind: 'path',
        value: 'DIR',
        help: 'where its images lie',
      },
      device: {
        flag: 'device',
        kind: 'text',
        value: 'ADDRESS',
        many: true,
        help:
          'a tape drive: iscsi://HOST/TARGET/LUN (USER@ and :PORT are possible); of several that which comes first ' +
          'is taken first',
        conflicts: ['path', 'volume-size'],
      },
      changer: {
        flag: 'changer',
        kind: 'text',
        value: 'ADDRESS',
        help: 'the library that brings tapes to the drives, in the same form',
        conflicts: ['path'],
      },
      drive: {
        flag: 'drive',
        kind: 'count',
        min: 1,
        value: 'NUMBER',
        many: true,
        help:
          'which of the drives of the library it is, in the order of their addresses; once for each --device, where the ' +
          'library does not tell',
        conflicts: ['path'],
      },
      drives: {
        flag: 'drives',
        kind: 'count',
        min: 1,
        value: 'NUMBER',
        defaultHelp: '1',
        help: 'how many images one command writes at once, where it has so many streams (backup --each)',
        conflicts: ['device', 'changer', 'drive'],
      },
      volumeBytes: {
        flag: 'volume-size',
        kind: 'size',
        value: 'SIZE',
        help: 'what one image holds',
      },
      blockBytes: {
        flag: 'block-size',
        kind: 'size',
        value: 'SIZE',
        defaultHelp: 'what one block of the repository needs',
        help: 'the longest record that is written',
      },
      chunkBytes: {
        flag: 'chunk-size',
        kind: 'size',
        value: 'SIZE',
        defaultHelp: '1G, or a sixteenth of a volume',
        help: 'how much is written between two points from which an interrupted backup continues',
      },
      markBytes: {
        flag: 'mark-every',
        kind: 'size',
        value: 'SIZE',
        default: '4G',
        help: 'how much is written between two file marks; 0: only at the end of a session',
      },
      syncBytes: {
        flag: 'sync-every',
        kind: 'size',
        value: 'SIZE',
        defaultHelp: '2G, and once a minute',
        help: 'how much is written until the drive is told to put all of it on the medium',
      },
      bufferBytes: {
        flag: 'buffers',
        kind: 'size',
        value: 'SIZE',
        defaultHelp: '64M, or 24 blocks',
        help: 'memory between the streams and a drive; it says how many streams may be open at once',
      },
      startPercent: {
        flag: 'start-level',
        kind: 'percent',
        value: 'PERCENT',
        defaultHelp: '50 for tapes, 0 for images',
        help: 'how full the buffers are before a drive that ran out of data begins to write again',
      },
      logPlace: {
        flag: 'log-place',
        kind: 'choice',
        choices: ['medium', 'beside', 'both'],
        default: 'both',
        help: 'where the write log is kept: on the volume, in the repository beside it, or both',
      },
      logEntries: {
        flag: 'log-entries',
        kind: 'choice',
        choices: ['run', 'record'],
        default: 'run',
        help: 'what an entry of the log covers: a run of records of one stream, or one record',
      },
    },
    examples: [
      {
        line: 'penstock pool add tapes --kind tape-image --path /srv/tapes --volume-size 2G',
        help: 'volumes of 2 GiB in a folder',
      },
      {
        line: 'penstock pool add lto --kind tape --device iscsi://nas/iqn.2001-04.com.example:drive/1',
        help: 'the tapes that are put into a drive',
      },
      {
        line:
          'penstock pool add lto --kind tape --device iscsi://nas/iqn.2001-04.com.example:lib/1 ' +
          '--device iscsi://nas/iqn.2001-04.com.example:lib/2 --changer iscsi://nas/iqn.2001-04.com.example:lib/0',
        help: 'the tapes of a library with two drives',
      },
    ],
  },

  'pool list': {
    summary: 'list the pools of the repository',
    description: ['Lists the pools with their settings, and how many volumes and chunks each has.'],
    positionals: {},
    options: {},
    examples: [{ line: 'penstock pool list', help: 'list them' }],
  },

  'pool remove': {
    summary: 'remove a pool that holds nothing that is needed',
    description: [
      'Forgets the pool and its volumes. The media themselves are not touched. A pool that holds data ' +
        'that archives need is not removed.',
    ],
    positionals: { pool: POOL },
    options: {},
    examples: [{ line: 'penstock pool remove tapes', help: 'when all of it was migrated' }],
  },

  'pool status': {
    summary: 'show how full the volumes of a pool are',
    description: [
      'Shows each volume of the pool: its state, what it holds, and when it was written.',
    ],
    positionals: { pool: POOL },
    options: {},
    examples: [{ line: 'penstock pool status tapes', help: 'volumes and their states' }],
  },

  'volume list': {
    summary: 'list the volumes of the repository',
    description: ['Lists the volumes of all pools, or of one.'],
    positionals: {},
    options: { pool: OF_POOL },
    examples: [{ line: 'penstock volume list', help: 'list them' }],
  },

  migrate: {
    summary: 'move chunks from one pool to another',
    description: [
      'Copies chunks as they are, sealed, to another pool, reads the copies back, and only then releases ' +
        'them where they were. Archives stay what they are. WHAT is the name of a pool (root is the ' +
        "repository's own storage), the name or id of a volume, or the id of a chunk.",
      'A migration that was interrupted goes on when it is run again.',
    ],
    positionals: {
      what: {
        kind: 'text',
        value: 'CHUNKS|VOLUME|POOL',
        many: true,
        required: true,
        help: 'what to move',
      },
    },
    options: {
      to: {
        flag: 'to',
        kind: 'text',
        value: 'POOL',
        required: true,
        help: 'where to: the name of a pool, or root',
      },
    },
    examples: [
      { line: 'penstock migrate root --to tapes', help: 'the data of all archives onto volumes' },
      { line: 'penstock migrate TAP001 --to root', help: 'all that a volume holds back' },
    ],
    partial: 'some chunks could not be moved',
  },

  'volume label': {
    summary: 'label a medium for a pool',
    description: [
      'Writes labels on a blank medium, so that the pool uses it: those of ANSI X3.27 first, then ' +
        "Penstock's own, with the repository's key records. The medium of a tape-image pool is the file " +
        'NAME.tap in its folder, and is made where there is none.',
      'A volume of the pool on which nothing is needed any more gets a new label too. A medium that ' +
        'holds anything else is refused unless --force is given; a volume with data that archives may ' +
        'need always is.',
    ],
    positionals: {
      name: {
        kind: 'text',
        value: 'NAME',
        required: true,
        help: 'its name: 1 to 6 capital letters and digits, as on the cartridge',
      },
    },
    options: {
      pool: { flag: 'pool', kind: 'text', value: 'POOL', required: true, help: 'its pool' },
      force: {
        flag: 'force',
        kind: 'flag',
        help: 'overwrite what is not of this repository, or not readable',
      },
      drive: {
        flag: 'drive',
        kind: 'count',
        min: 1,
        value: 'NUMBER',
        help: 'in which of the drives of the pool the tape is, where there are tapes in several',
      },
    },
    examples: [
      { line: 'penstock volume label TAPE07 --pool tapes', help: 'make a volume of the pool' },
    ],
  },

  'volume erase': {
    summary: 'erase a volume that holds nothing that is needed',
    description: [
      'Erases the medium, and forgets the volume with its logs. A volume that holds data that archives ' +
        'may need is refused.',
    ],
    positionals: { volume: VOLUME },
    options: {
      force: {
        flag: 'force',
        kind: 'flag',
        help: 'forget the volume also when its medium is lost, or is another one, which is left alone',
      },
    },
    examples: [{ line: 'penstock volume erase TAPE07', help: 'make a blank medium of it' }],
  },

  'volume verify': {
    summary: 'read a volume through and check every record',
    description: [
      'Reads all records of the volume once, from its beginning to its end, and checks labels, headers, ' +
        'checksums, the order of the parts of each chunk, whether the write log, on the volume and ' +
        'beside it, says what is there, and whether the chunks that the repository counts on are whole. ' +
        'What is wrong is named with the number of its object. Needs no key of the data.',
      'Damaged blocks are noted, as by `check`: the next backup stores anew what it still finds of them.',
    ],
    positionals: { volume: VOLUME },
    options: {},
    examples: [{ line: 'penstock volume verify TAPE07', help: 'is it whole?' }],
  },

  'volume log': {
    summary: 'show the write log of a volume, or do something with it',
    description: [
      'Shows which records of which stream lie where on the volume: a line for each run of records, with ' +
        'the number of its first object, session by session. The log that is kept beside the volume is ' +
        'taken, else the one on its medium, else the headers of the records.',
      'While a session is written its log is in memory; at its end it is stored on the medium, beside it ' +
        'in the repository, or both, as the pool says. Afterwards --append writes logs that are only ' +
        'beside to the end of the medium, --clear drops those beside once the medium is seen to have ' +
        'them, --rebuild makes the log again from the headers of the records and keeps it beside where ' +
        'the one that was there says something else, and --initiate names the log of the next session.',
      '--rates shows how each stream was written: how fast, in how many runs, how many records a run has ' +
        'on average and at most, how many objects of other streams lie in the gaps between them, for how ' +
        'long it was silent at most, and its rate over time; --svg draws it.',
    ],
    positionals: { volume: VOLUME },
    options: {
      session: {
        flag: 'session',
        kind: 'count',
        value: 'N',
        min: 0,
        defaultHelp: 'all; for --svg the last',
        help: 'only this session; the first one is 0',
      },
      rates: {
        flag: 'rates',
        kind: 'flag',
        conflicts: ['initiate', 'append', 'clear', 'rebuild'],
        help: 'show rates, runs and gaps of each stream',
      },
      svg: {
        flag: 'svg',
        kind: 'path',
        value: 'FILE',
        conflicts: ['initiate', 'append', 'clear', 'rebuild'],
        help: 'write a picture of rates and runs over time to a file',
      },
      initiate: {
        flag: 'initiate',
        kind: 'text',
        value: 'ID',
        conflicts: ['append', 'clear', 'rebuild'],
        help: 'an identifier for the log of the next session on the volume',
      },
      append: {
        flag: 'append',
        kind: 'flag',
        conflicts: ['clear', 'rebuild'],
        help: 'write logs that are kept beside the volume to the end of its medium',
      },
      clear: {
        flag: 'clear',
        kind: 'flag',
        conflicts: ['rebuild'],
        help: 'drop the logs beside the volume, if its medium has them',
      },
      rebuild: {
        flag: 'rebuild',
        kind: 'flag',
        help: 'make the log from the headers of the records',
      },
    },
    examples: [
      { line: 'penstock volume log TAPE07', help: 'the log' },
      { line: 'penstock volume log TAPE07 --rates --svg rates.svg', help: 'how it was written' },
      { line: 'penstock volume log TAPE07 --rebuild', help: 'the log is lost, or not believed' },
    ],
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
