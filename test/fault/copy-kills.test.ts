/**
 * Goal: a copy whose daemon or whose command is killed, or whose target is full, ends with a clear error, on
 * the other machine too; run again it goes on, and in the end the trees are the same and nothing is left.
 * Method: a daemon and commands as processes of their own, killed while pieces of a large file arrive; a
 * small file system for the target.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { IS_ROOT, penstock, scratchFolder, start, succeed } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { until } from '../until.ts';

const MIB = 2 ** 20;
/** So slow that it is met in the middle: it is not waited for. */
const SLOW = '3M';
const scratch = scratchFolder();
const state = (who: string): string => join(scratch, who);
const tree = (path: string) => capture(fromText(path));
const source = join(scratch, 'source');
mkdirSync(join(source, 'd'), { recursive: true });
writeFileSync(join(source, 'large'), noise(17 * MIB, 'large'));
for (let i = 0; i < 50; i++) writeFileSync(join(source, 'd', `file${i}`), noise(i * 99, `${i}`));

interface Daemon {
  readonly address: string;
  /** Resolves when it is over. */
  end(signal: NodeJS.Signals): Promise<void>;
}
let daemon: Daemon | undefined;
after(() => daemon?.end('SIGKILL'));

async function serve(listen: string): Promise<Daemon> {
  const { child, ended } = start(['serve', '--state', state('far'), '--listen', listen]);
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const [line] = (await once(lines, 'line')) as [string];
  const address = /https:\/\/([^/"\s]+)/.exec(line)?.[1] ?? '';
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await ended;
  };
  daemon = { address, end };
  return daemon;
}
/** A daemon with which this machine is paired, for copies below the scratch folder. */
async function pairedDaemon(): Promise<Daemon> {
  const served = await serve('127.0.0.1:0');
  const { summary } = succeed([
    ...['pair', 'token', '--state', state('far'), '--copy-path', scratch],
  ]);
  const pairing = ['pair', served.address, '--token', String(summary.token)];
  const paired = await start([...pairing, '--state', state('near')]).ended;
  assert.equal(paired.status, 0, paired.stdout);
  return served;
}

function temporaries(path: string): string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true })
    .map(String)
    .filter((name) => name.includes('.penstock.'));
}
async function underWay(target: string): Promise<void> {
  await until(() => temporaries(target).length >= 2);
}
const copyArgs = (address: string, way: string, target: string, rate: string): string[] => [
  'copy',
  ...(way === 'push' ? [source, `${address}:${target}`] : [`${address}:${source}`, target]),
  ...['--state', state('near'), '--limit-rate', rate],
];

test('a daemon that is killed, and comes back', async () => {
  let { address, end } = await pairedDaemon();
  for (const way of ['push', 'pull']) {
    const target = join(scratch, `daemon-${way}`);
    const copying = start(copyArgs(address, way, target, SLOW));
    await underWay(target);
    await end('SIGKILL');
    const { status, errors } = await copying.ended;
    assert.equal(status, 1);
    assert.match(String(errors[0]?.code), /^NET_/);
    ({ address, end } = await serve(address));
    const again = await start(copyArgs(address, way, target, '1G')).ended;
    assert.equal(again.status, 0, again.stdout);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
  }
  await end('SIGTERM');
});

test('a command that is killed, and run again', async () => {
  const { address, end } = await pairedDaemon();
  for (const way of ['push', 'pull']) {
    const target = join(scratch, `command-${way}`);
    const copying = start(copyArgs(address, way, target, SLOW));
    await underWay(target);
    copying.child.kill('SIGKILL');
    assert.equal((await copying.ended).status, null);
    const again = await start(copyArgs(address, way, target, '1G')).ended;
    assert.equal(again.status, 0, again.stdout);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
  }
  await until(async () => {
    const listed = await start(['pipes', '--state', state('far')]).ended;
    return Number(listed.summary.pipes) === 0;
  });
  await end('SIGTERM');
});

const canMount = IS_ROOT && spawnSync('mount', ['--version']).status === 0;

test('a target without room ends the copy, which goes on when there is some', {
  skip: canMount ? false : 'needs root and mount',
}, (t) => {
  const target = join(scratch, 'full');
  mkdirSync(target);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', target]);
  if (mounted.status !== 0) return t.skip('mounting is not allowed here');
  try {
    const full = penstock(['copy', source, target]);
    assert.equal(full.status, 1);
    assert.equal(full.errors.length, 1);
    assert.match(JSON.stringify(full.errors[0]), /ENOSPC/);
    spawnSync('mount', ['-o', 'remount,size=64m', target]);
    const { summary } = succeed(['copy', source, target]);
    assert.ok((summary.bytesResumed as number) > 0);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
  } finally {
    spawnSync('umount', ['-l', target]);
  }
});
