/**
 * Pipes that commands run are known to the monitor of the same state folder (P7).
 *
 * Goal: a backup and a copy are shown by `penstock pipes` of their machine while they run, under the name of
 * the command, and `pipe stop` ends them with the reason; without a monitor, or when it ends, they go on.
 * Method: a rate limit makes them last; daemons in processes of their own.
 */
import { deepEqual, equal, match } from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askPipes, askStop } from '../../src/monitor/local-requests.ts';
import type { PipeView } from '../../src/monitor/pipe-view.ts';
import { penstock, scratchFolder, start, succeed } from '../commands.ts';
import { type Daemon, pairDaemons, startDaemon, startDaemonAt } from '../daemon-fixture.ts';
import { noise } from '../tree-make.ts';

const scratch = scratchFolder();

interface Setting {
  readonly near: Daemon;
  readonly far: Daemon;
  readonly source: string;
  readonly repository: string;
  readonly there: string;
}

async function setUp(t: TestContext): Promise<Setting> {
  const folder = join(scratch, t.name.replaceAll(/\W/g, '').slice(0, 20));
  const there = join(folder, 'there');
  const source = join(folder, 'source');
  for (const path of [there, source]) mkdirSync(path, { recursive: true });
  writeFileSync(join(source, 'file'), noise(3_000_000, 'file'));
  const [near, far] = await Promise.all([
    startDaemon(t),
    startDaemon(t, ['--repo', `home=${join(folder, 'repository')}`]),
  ]);
  pairDaemons(near, far, ['--access', 'full', '--copy-path', there]);
  return { near, far, source, there, repository: `penstock://${far.address}/home` };
}

async function shown(
  daemon: Daemon,
  program: string,
  wanted: Partial<PipeView> = {},
): Promise<PipeView> {
  for (;;) {
    const found = (await askPipes(daemon.folder)).find(
      (pipe) =>
        pipe.program === program &&
        Object.entries(wanted).every(([key, value]) => pipe[key as keyof PipeView] === value) &&
        pipe.stages.some(({ instances }) => instances[0]?.received),
    );
    if (found !== undefined) return found;
    await sleep(20);
  }
}

test('a backup is shown while it runs, and stopped by name', async (t) => {
  const { near, source, repository } = await setUp(t);
  const args = ['backup', source, '--repo', repository, '--limit-rate', '50KB', ...near.state];
  const { ended } = start(args);
  const pipe = await shown(near, 'backup');
  equal(pipe.flow, 'local');
  equal(pipe.state, 'running');
  deepEqual(
    pipe.stages.map(({ name }) => name),
    ['scan', 'walk', 'work', 'place'],
  );
  const listed = penstock(['pipes', ...near.state]).stdout;
  match(listed, new RegExp(`"name":"${pipe.name}"`));
  succeed(['pipe', 'stop', pipe.name, ...near.state]);
  const { status, errors } = await ended;
  equal(status, 1);
  equal(errors[0]?.code, 'PIPE_STOPPED');
  match(String(errors[0]?.message), /the user has stopped the pipe/);
  while ((await askPipes(near.folder)).length > 0) await sleep(10);
});

test('a copy is shown on both machines; it goes on when its monitor ends, and the next one shows it', async (t) => {
  const { near, far, source, there } = await setUp(t);
  const target = `${far.address}:${there}`;
  const { ended } = start(['copy', source, target, '--limit-rate', '50KB', ...near.state]);
  // The other pipe of a copy, which lists the target, may still be there.
  const pipe = await shown(near, 'copy', { flow: 'push' });
  await shown(far, 'copy', { name: pipe.name });
  near.process.kill('SIGKILL');
  await once(near.process, 'exit');
  const next = await startDaemonAt(t, near.folder);
  await shown(next, 'copy', { name: pipe.name });
  await askStop(far.folder, pipe.name);
  const { status, errors } = await ended;
  equal(status, 1);
  equal(errors[0]?.code, 'PIPE_STOPPED');
  while ((await askPipes(next.folder)).length > 0) await sleep(10);
});
