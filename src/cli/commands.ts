/**
 * Which module runs which command.
 *
 * Contract: a module is loaded only when its command is run, so that starting stays quick; the
 * compiler checks that each command of the table has one.
 */
import type { CommandName, ParsedCommand } from '../options/table.ts';
import type { CommandModule } from './invocation.ts';

type Loaders = {
  readonly [C in CommandName]: (parsed: ParsedCommand<C>) => Promise<CommandModule<C>>;
};

const LOADERS: Loaders = {
  init: () => import('./commands/init.ts'),
  backup: async ({ options, positionals }) => {
    const { warmBackup } = await import('../mover/warm-threads.ts');
    const { threads, dryRun } = options;
    const sources = options.each ? positionals.paths.length : 1;
    if (!isFar(options)) warmBackup({ sources, threads, dryRun });
    return import('./commands/backup.ts');
  },
  restore: async ({ options }) => {
    const { warmRestore } = await import('../mover/warm-threads.ts');
    if (!isFar(options)) warmRestore();
    return import('./commands/restore.ts');
  },
  archives: () => import('./commands/archives.ts'),
  ls: () => import('./commands/ls.ts'),
  cat: () => import('./commands/cat.ts'),
  diff: () => import('./commands/diff.ts'),
  find: () => import('./commands/find.ts'),
  check: () => import('./commands/check.ts'),
  forget: () => import('./commands/forget.ts'),
  prune: () => import('./commands/prune.ts'),
  'key list': () => import('./commands/key-list.ts'),
  'key add': () => import('./commands/key-add.ts'),
  'key remove': () => import('./commands/key-remove.ts'),
  'key passwd': () => import('./commands/key-passwd.ts'),
  'key rotate': () => import('./commands/key-rotate.ts'),
  'catalog rebuild': () => import('./commands/catalog-rebuild.ts'),
  upgrade: () => import('./commands/upgrade.ts'),
  'pool add': () => import('./commands/pool-add.ts'),
  'pool list': () => import('./commands/pool-list.ts'),
  'pool remove': () => import('./commands/pool-remove.ts'),
  'pool status': () => import('./commands/pool-status.ts'),
  'volume list': () => import('./commands/volume-list.ts'),
  'volume label': () => import('./commands/volume-label.ts'),
  'volume erase': () => import('./commands/volume-erase.ts'),
  'volume verify': () => import('./commands/volume-verify.ts'),
  'volume log': () => import('./commands/volume-log.ts'),
  migrate: () => import('./commands/migrate.ts'),
  copy: () => import('./commands/copy.ts'),
  serve: () => import('./commands/serve.ts'),
  'pair token': () => import('./commands/pair-token.ts'),
  pair: () => import('./commands/pair.ts'),
  'pair list': () => import('./commands/pair-list.ts'),
  'pair remove': () => import('./commands/pair-remove.ts'),
  pipes: () => import('./commands/pipes.ts'),
  'pipe start': () => import('./commands/pipe-start.ts'),
  attach: () => import('./commands/attach.ts'),
  'pipe stop': () => import('./commands/pipe-stop.ts'),
  completion: () => import('./commands/completion.ts'),
  help: () => import('./commands/help.ts'),
};

/**
 * Whether the repository is another machine's: what leads to its key comes from there, and threads that are started
 * before that is under way would hold it up.
 */
function isFar({ repo }: { readonly repo?: unknown }): boolean {
  return typeof repo === 'string' && /^penstock:/i.test(repo);
}

/** Loads the code of a command, and starts what it will need first. */
export async function loadCommand<C extends CommandName>(
  parsed: ParsedCommand<C>,
): Promise<CommandModule<C>> {
  if (isFar(parsed.options)) {
    const { warmNetThread } = await import('../channel/remote/net-start.ts');
    warmNetThread();
  }
  return LOADERS[parsed.command](parsed);
}
