/**
 * The rows of the table for pipes: what runs, and pipes between programs.
 */
import type { CommandSpec } from './types.ts';

const NAME = {
  kind: 'text',
  value: 'NAME',
  required: true,
  help: 'a name from `penstock pipes`',
} as const;

export const PIPE_COMMANDS = {
  pipes: {
    summary: 'show the pipes that run on this machine, or wait for it',
    description: [
      'Asks the monitor that runs with the same state folder. For each pipe: its stages with their ' +
        'instances, the buffers that wait for each, how many pass in a second, and who waits for whom. ' +
        'Pipes for which there is no room yet show their place in the queue.',
      'Commands that move data (backup, restore, check, copy) tell the monitor of their pipes while it runs.',
    ],
    positionals: {},
    options: {},
    examples: [{ line: 'penstock pipes', help: 'see what runs' }],
  },
  'pipe stop': {
    summary: 'stop a pipe',
    description: [
      'Stops the pipe on this machine and on the others that it reaches; returns when it is over here. ' +
        'One that waits in the queue leaves it.',
    ],
    positionals: {
      pipe: NAME,
    },
    options: {},
    examples: [{ line: 'penstock pipe stop laptop-4711-1790000000000-1', help: 'stop one' }],
  },
  'pipe start': {
    summary: 'start a pipe between programs, on this machine or to another one',
    description: [
      'Has the monitor of this machine run a pipe whose head and tail are programs that attach themselves ' +
        'with `penstock attach NAME --as head` and `--as tail`. With --to the tail is on another ' +
        'machine, with --from the head is; that machine must have granted this one the module `unbound` ' +
        '(`penstock pair token --module unbound`).',
      'With several --to or --from the pipe goes through all these machines. Each is paired with the one before ' +
        'it, and lets that one go on to the next (`penstock pair token --onward HOST`). The head and the tail ' +
        'are at the two ends.',
      'Returns when the pipe runs, or has a place in the queue, and prints its name. The pipe ends when its ' +
        'head has sent all and its tail has taken all; it stops when a program dies before, or nobody ' +
        'is attached in time.',
    ],
    positionals: {
      name: { kind: 'text', value: 'NAME', help: 'the name of the pipe; else one is made' },
    },
    options: {
      to: {
        flag: 'to',
        kind: 'text',
        value: 'HOST[:PORT]',
        many: true,
        conflicts: ['from'],
        help: 'the paired machine on which the tail is; given again, the pipe goes on from there to the next',
      },
      from: {
        flag: 'from',
        kind: 'text',
        value: 'HOST[:PORT]',
        many: true,
        conflicts: ['to'],
        help: 'the paired machine on which the head is; given again, the pipe comes from the next one behind it',
      },
      through: {
        flag: 'through',
        kind: 'text',
        value: 'MODULE',
        many: true,
        help: 'a command of this machine in between, by the name that `serve --module` gives it',
      },
      farThrough: {
        flag: 'far-through',
        kind: 'text',
        value: '[MACHINE=]MODULE',
        many: true,
        help: 'the same on another machine, by a name of its list; the last machine where none is named',
      },
      device: {
        flag: 'device',
        kind: 'text',
        value: 'NAME',
        help: 'a device of this machine that the pipe uses: it waits until it is free',
      },
      farDevice: {
        flag: 'far-device',
        kind: 'text',
        value: '[MACHINE=]NAME',
        many: true,
        help: 'the same on another machine',
      },
      shared: {
        flag: 'shared',
        kind: 'flag',
        help: 'use connections together with other pipes to the same machine that do, instead of its own',
      },
      waitMs: {
        flag: 'wait',
        kind: 'duration',
        value: 'TIME',
        defaultHelp: '10m',
        help: 'how long each end waits for its program',
      },
    },
    examples: [
      {
        line: 'penstock pipe start photos --to backup.example.org',
        help: 'from this machine to another one',
      },
      {
        line: 'penstock pipe start photos --to gate.example.org --to vault.example.org',
        help: 'to a machine behind another one',
      },
      {
        line: 'tar c photos | penstock attach photos --as head',
        help: 'then, on this machine',
      },
      {
        line: 'penstock attach photos --as tail > photos.tar',
        help: 'and on the other one',
      },
    ],
  },
  attach: {
    summary: 'connect standard input or output to a pipe',
    description: [
      'With --as head what is read from standard input flows into the pipe; status 0 says that all of it ' +
        'arrived, on whatever machine. With --as tail what comes out of the pipe is written to standard ' +
        'output. The pipe runs on this machine, with the same state folder, and has an unbound head or ' +
        'tail: of `penstock pipe start`, of another machine, or of a program that uses the library.',
    ],
    positionals: { pipe: NAME },
    options: {
      as: {
        flag: 'as',
        kind: 'choice',
        choices: ['head', 'tail'],
        required: true,
        help: 'which end of the pipe to be',
      },
      stage: {
        flag: 'stage',
        kind: 'text',
        value: 'STAGE',
        help: 'which one, where the pipe has several',
      },
      waitMs: {
        flag: 'wait',
        kind: 'duration',
        value: 'TIME',
        defaultHelp: '0s',
        help: 'how long to wait for a pipe that does not run yet',
      },
    },
    examples: [
      { line: 'tar c . | penstock attach photos --as head', help: 'give it a stream' },
      { line: 'penstock attach photos --as tail --wait 1h | tar x', help: 'take what comes' },
    ],
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
