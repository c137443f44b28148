/**
 * Programs at the ends of a pipe over three machines: `penstock pipe start --to B --to C` (P9, P10, P12).
 *
 * Goal: what goes in at one end comes out whole at the other, through commands of each machine; the programs
 * are told how it ended, also when the machine in the middle is killed.
 * Method: whole commands; three daemons with state folders of their own, the middle one paired with both.
 */
import { equal, match } from 'node:assert/strict';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { penstock, succeed } from '../commands.ts';
import {
  assertPasses,
  attached,
  type Daemon,
  endingWithFile,
  noPipes,
  noSockets,
  pairDaemons,
  startDaemon,
} from '../daemon-fixture.ts';
import { noise } from '../tree-make.ts';

const TURN = ['--module', 'turn=tr a-y b-z', '--module', 'back=tr b-z a-y'];
const GRANTS = ['unbound', 'turn', 'back'].flatMap((name) => ['--module', name]);

const file = endingWithFile();
let first: Daemon;
let middle: Daemon;
let last: Daemon;
before(async () => {
  [first, middle, last] = await Promise.all([
    startDaemon(file, TURN),
    startDaemon(file, TURN),
    startDaemon(file, TURN),
  ]);
  pairDaemons(middle, last, GRANTS);
  pairDaemons(first, middle, [...GRANTS, '--onward', last.address]);
});

for (const flow of ['to', 'from'] as const) {
  test(`through three machines and a command of each (${flow})`, async (t) => {
    const sent = Buffer.concat([noise(2_000_000, flow), Buffer.alloc(3_000_000, 'text ')]);
    // No byte is lost in the turning.
    for (const [i, byte] of sent.entries()) if (byte === 0x7a) sent[i] = 0x79;
    for (const [i, byte] of sent.entries()) if (byte === 0x61) sent[i] = 0x62;
    // Over connections of its own, and over such as others could use too.
    const shared = flow === 'to' ? [] : ['--shared'];
    const places = [`--${flow}`, middle.address, `--${flow}`, last.address, ...shared];
    const modules =
      flow === 'to'
        ? ['--through', 'turn', '--far-through', `${middle.address}=back`]
        : ['--far-through', `${middle.address}=turn`, '--through', 'back'];
    succeed(['pipe', 'start', 'three', ...places, ...modules, ...first.state]);
    await assertPasses(t, 'three', sent, [first, middle, last], flow);
  });
}

test('who may not go on, or names a machine that is none of the pipe, is told so', () => {
  const refused = (...more: string[]) =>
    penstock(['pipe', 'start', ...more, ...first.state]).errors[0]?.code;
  equal(refused('--to', middle.address, '--to', first.address), 'NET_DENIED');
  equal(refused('--to', middle.address, '--far-through', `${last.address}=turn`), 'USAGE');
  equal(refused('--to', middle.address, '--from', last.address), 'USAGE');
  equal(refused('--far-through', 'turn'), 'USAGE');
});

for (const place of ['middle', 'last'] as const) {
  test(`the ${place} daemon is killed: the programs of the other machines are told`, async (t) => {
    // A machine for each of these, so that the others stay.
    const killed = await startDaemon(t, TURN);
    if (place === 'last') {
      pairDaemons(middle, killed, GRANTS);
      pairDaemons(first, middle, [...GRANTS, '--onward', killed.address]);
    } else {
      pairDaemons(killed, last, GRANTS);
      pairDaemons(first, killed, [...GRANTS, '--onward', last.address]);
    }
    const [second, third] = place === 'last' ? [middle, killed] : [killed, last];
    const places = ['--to', second.address, '--to', third.address];
    succeed(['pipe', 'start', 'lost', ...places, ...first.state]);
    const tail = attached(t, ['lost', '--as', 'tail', ...third.state]);
    const head = attached(t, ['lost', '--as', 'head', ...first.state]);
    head.child.stdin?.write('x');
    while (tail.received() === 0) await sleep(10);
    killed.process.kill('SIGKILL');
    const [gave, got] = await Promise.all([head.ended, tail.ended]);
    equal(gave.status, 1);
    match(gave.stderr, /NET_LOST|nothing is heard/);
    equal(got.status, 1);
    await Promise.all([first, second, third].filter((one) => one !== killed).map(noPipes));
    for (const daemon of [first, second, third]) if (daemon !== killed) noSockets(daemon);
  });
}
