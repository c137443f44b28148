/**
 * Programs at the ends of pipes between two machines: `penstock pipe start --to` and `--from`, and `penstock attach`
 * (P7, P9, P10; issue 3, item 7).
 *
 * Goal: what goes in on one machine comes out whole on the other, through commands of either; nobody is
 * given what was not granted; whatever ends one program ends all, with the cause told everywhere.
 * Method: whole commands, daemons in processes of their own with state folders of their own.
 */
import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { unboundModule } from '../../src/channel/local/unbound-stage.ts';
import { extendPipe } from '../../src/channel/net/controller.ts';
import { Peers } from '../../src/channel/net/peers.ts';
import { StateFolder } from '../../src/channel/net/state-folder.ts';
import { askStart } from '../../src/monitor/local-requests.ts';
import type { StartRequest } from '../../src/monitor/near-pipes.ts';
import { penstock, succeed } from '../commands.ts';
import {
  assertPasses,
  attached,
  type Daemon,
  endingWithFile,
  noPipes,
  noSockets,
  pairDaemons,
  pipesOf,
  startDaemon,
} from '../daemon-fixture.ts';
import { newMachine } from '../monitor-fixture.ts';
import { noise } from '../tree-make.ts';

const hasGzip = spawnSync('gzip', ['--version']).status === 0;
const COMMANDS = { pack: 'gzip -1 -c', unpack: 'gzip -dc' };
const MODULES = Object.entries(COMMANDS).flatMap(([name, words]) => [
  '--module',
  `${name}=${words}`,
]);
const GRANTS = ['unbound', ...Object.keys(COMMANDS)].flatMap((name) => ['--module', name]);

const file = endingWithFile();
let near: Daemon;
let far: Daemon;
before(async () => {
  [near, far] = await Promise.all([
    startDaemon(file, MODULES),
    startDaemon(file, [...MODULES, '--module', 'secret=cat']),
  ]);
  pairDaemons(near, far, GRANTS);
});

/** Starts a pipe as the command does. */
async function begin(name: string, more: Partial<StartRequest> = {}): Promise<void> {
  await askStart(near.folder, { name, through: [], ...more });
}
const toFar = (through: readonly string[] = []): Pick<StartRequest, 'far'> => ({
  far: { flow: 'push', machines: [{ host: '127.0.0.1', port: far.port, through }] },
});

for (const flow of ['to', 'from'] as const) {
  test(`between two machines, through commands of both (${flow})`, {
    skip: !hasGzip,
  }, async (t) => {
    const sent = Buffer.concat([noise(2_000_000, flow), Buffer.alloc(3_000_000, 'text ')]);
    const [here, there] = flow === 'to' ? ['pack', 'unpack'] : ['unpack', 'pack'];
    const modules = ['--through', here, '--far-through', there];
    succeed(['pipe', 'start', 'both', `--${flow}`, far.address, ...modules, ...near.state]);
    await assertPasses(t, 'both', sent, [near, far], flow);
  });
}

test('what the other machine did not grant, or does not have, is refused', async () => {
  const refused = (...more: string[]) =>
    penstock(['pipe', 'start', '--to', far.address, ...more, ...near.state]).errors[0]?.code;
  equal(refused('--far-through', 'secret'), 'NET_DENIED');
  equal(refused('--far-through', 'gzip -c'), 'PIPE_CONFIG');
  equal(refused('--through', 'secret'), 'PIPE_CONFIG');
  equal(penstock(['serve', '--module', 'copy-read=cat', ...near.state]).errors[0]?.code, 'USAGE');
  for (const wrong of ['--device=tape=0', '--device=tape', '--module=x', '--module=a/b=cat']) {
    equal(penstock(['serve', wrong, ...near.state]).errors[0]?.code, 'USAGE', wrong);
  }
  const stranger = await newMachine();
  new Peers(new StateFolder(far.folder)).put({
    name: 'stranger',
    kind: 'client',
    fingerprint: stranger.identity.fingerprint,
    pairedMs: 0,
    access: [{ repository: '*', level: 'full' }],
    copyPaths: ['/'],
  });
  await rejects(
    extendPipe({
      identity: stranger.identity,
      server: { host: '127.0.0.1', port: far.port, fingerprint: far.fingerprint },
      program: 'test',
      flow: 'pull',
      near: {
        maxBuffers: 2,
        payloadBytes: 1000,
        stages: [{ name: 'a', modules: [unboundModule()] }],
      },
      far: { stages: [{ name: 'b', modules: [{ name: 'unbound' }] }] },
    }),
    { code: 'NET_DENIED' },
  );
  deepEqual([...(await pipesOf(near)), ...(await pipesOf(far))], []);
});

test('a program that is killed stops the pipe on both machines, and is named as the cause', async (t) => {
  for (const role of ['head', 'tail'] as const) {
    await begin(role, toFar());
    const tail = attached(t, [role, '--as', 'tail', ...far.state]);
    const head = attached(t, [role, '--as', 'head', ...near.state]);
    head.child.stdin?.write(noise(100_000, role));
    while (tail.received() < 100_000) await sleep(10);
    const [killed, other] = role === 'head' ? [head, tail] : [tail, head];
    killed.child.kill('SIGKILL');
    // Who is held up learns it too.
    if (role === 'tail') head.child.stdin?.write(noise(3_000_000, 'more'));
    const { status, stderr } = await other.ended;
    equal(status, 1);
    match(stderr, new RegExp(`PROGRAM_LOST|the program ${killed.child.pid} that was attached`));
    match(stderr, new RegExp(`program ${killed.child.pid} .*attached as ${role}.*before`));
    for (const daemon of [near, far]) {
      await noPipes(daemon);
      noSockets(daemon);
      match(daemon.log.join(''), new RegExp(`program ${killed.child.pid} `));
    }
  }
});

test('a command of the other machine that fails is the cause that both are told', {
  skip: !hasGzip,
}, async (t) => {
  await begin('broken', toFar(['unpack']));
  const tail = attached(t, ['broken', '--as', 'tail', ...far.state]);
  const head = attached(t, ['broken', '--as', 'head', ...near.state]);
  for (const daemon of [near, far]) {
    const isAttached = async (): Promise<boolean> =>
      (await pipesOf(daemon)).some(({ stages }) =>
        stages.some((one) => one.programs?.length === 1),
      );
    while (!(await isAttached())) await sleep(10);
  }
  head.child.stdin?.write(noise(300_000, 'no gzip file'));
  for (const { ended } of [head, tail]) {
    const { status, stderr } = await ended;
    equal(status, 1);
    match(stderr, /gzip ended with status 1: .*not in gzip format/);
  }
  await Promise.all([near, far].map(noPipes));
});

test('an end is given to one program; agents of the network are no ends; who is early waits', async (t) => {
  const early = attached(t, ['late', '--as', 'tail', '--wait', '1m', ...far.state]);
  const now = penstock(['attach', 'late', '--as', 'tail', ...far.state]);
  match(now.stderr, /PIPE_UNKNOWN/);
  await begin('late', toFar());
  const head = attached(t, ['late', '--as', 'head', ...near.state]);
  head.child.stdin?.write('some');
  while (early.received() < 4) await sleep(10);
  const second = await attached(t, ['late', '--as', 'head', ...near.state], Buffer.from('x')).ended;
  equal(second.status, 1);
  match(second.stderr, /a program is attached as head already/);
  for (const [daemon, role, stage] of [
    [near, 'tail', 'send'],
    [far, 'head', 'receive'],
  ] as const) {
    const args = ['late', '--as', role, ...daemon.state];
    const refused = await attached(t, args, Buffer.from('x')).ended;
    equal(refused.status, 1);
    match(refused.stderr, /agents of the network, which no program can take the place of/);
    const named = await attached(t, [...args, '--stage', stage], Buffer.from('x')).ended;
    match(named.stderr, new RegExp(`stage ${stage} of the pipe is no unbound`));
  }
  head.child.stdin?.end(' more');
  equal((await early.ended).bytes.toString(), 'some more');
  equal((await head.ended).status, 0);
});

test('a daemon that is killed ends the pipe for the programs of both machines', async (t) => {
  const third = await startDaemon(t);
  pairDaemons(near, third, ['--module', 'unbound']);
  const machine = { host: '127.0.0.1', port: third.port, through: [] };
  await begin('lost', { far: { flow: 'pull', machines: [machine] } });
  const tail = attached(t, ['lost', '--as', 'tail', ...near.state]);
  const head = attached(t, ['lost', '--as', 'head', ...third.state]);
  head.child.stdin?.write('x');
  while (tail.received() === 0) await sleep(10);
  third.process.kill('SIGKILL');
  match((await head.ended).stderr, /the process that ran the pipe lost has ended/);
  const { status, stderr } = await tail.ended;
  equal(status, 1);
  match(stderr, /nothing is heard of 127\.0\.0\.1:\d+ any more/);
  await noPipes(near);
  noSockets(near);
});
