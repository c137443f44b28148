/**
 * The rows of the table for the command line itself.
 */
import type { CommandSpec } from './types.ts';

export const SELF_COMMANDS = {
  completion: {
    summary: 'write a completion script for a shell',
    description: [
      'Writes a script to standard output that completes commands, options and values.',
    ],
    positionals: {
      shell: {
        kind: 'choice',
        value: 'SHELL',
        choices: ['bash', 'zsh', 'fish'],
        required: true,
        help: 'the shell',
      },
    },
    options: {},
    examples: [
      {
        line: 'source <(penstock completion bash)',
        help: 'for this shell; put the line into ~/.bashrc for all',
      },
      {
        line: 'penstock completion fish > ~/.config/fish/completions/penstock.fish',
        help: 'for fish',
      },
    ],
  },

  help: {
    summary: 'show help',
    description: ['Shows the commands, or all about one command.'],
    positionals: {
      command: {
        kind: 'text',
        value: 'COMMAND',
        many: true,
        help: 'a command, such as `backup` or `key add`',
      },
    },
    options: {
      man: {
        flag: 'man',
        kind: 'flag',
        conflicts: ['markdown'],
        help: 'write the manual page (roff)',
      },
      markdown: { flag: 'markdown', kind: 'flag', help: 'write docs/cli.md' },
    },
    examples: [
      { line: 'penstock help backup', help: 'all about one command' },
      { line: 'penstock help --man | man -l -', help: 'read the manual' },
    ],
  },
} as const satisfies Readonly<Record<string, CommandSpec>>;
