/**
 * Goal: machines come to know each other by one-time tokens, and by nothing else (P7, design 5).
 * Method: two state folders, a real daemon, the commands `pair …`; tokens that are wrong, used,
 * expired, guessed, for somebody else.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ApiClient } from '../../src/channel/net/api-client.ts';
import { openIdentity } from '../../src/channel/net/identity.ts';
import { decodeToken, encodeToken, PendingTokens } from '../../src/channel/net/pairing.ts';
import { Peers } from '../../src/channel/net/peers.ts';
import { openRandom, seededRandom } from '../../src/host/mod.ts';
import { penstock, scratchFolder, start, succeed } from '../commands.ts';
import { clientOf, newMachine, startMonitor } from '../monitor-fixture.ts';

const SCRATCH = scratchFolder();
const GRANT = { access: [{ repository: 'home', level: 'read' }], copyPaths: [] } as const;

test('two machines pair by the commands; the daemon ends in order', async () => {
  const server = join(SCRATCH, 'server');
  const client = join(SCRATCH, 'client');
  const daemon = start([
    ...['serve', '--state', server, '--listen', '127.0.0.1:0', '--repo', 'home=/nowhere'],
  ]);
  const listening = await firstLine(daemon.child.stdout);
  const { fingerprint, port } = listening as { fingerprint: string; port: number };
  assert.match(fingerprint, /^[0-9a-f]{64}$/);
  try {
    const made = succeed([
      ...['pair', 'token', '--repo', 'home', '--access', 'read', '--copy-path', '/srv/x'],
      ...['--state', server],
    ]).summary;
    assert.equal(made.fingerprint, fingerprint);
    const host = `127.0.0.1:${port}`;
    const pair = ['pair', host, '--token', String(made.token), '--state', client];
    const { summary } = succeed([...pair, '--name', 'laptop']);
    assert.deepEqual(
      [summary.fingerprint, summary.calledName, summary.access, summary.repositories],
      [fingerprint, 'laptop', [{ repository: 'home', level: 'read' }], ['home']],
    );
    const again = penstock(pair);
    assert.deepEqual([again.status, again.errors[0]?.code], [1, 'PAIRING_REFUSED']);

    const own = JSON.parse(
      succeed(['pair', 'list', '--state', client]).stdout.split('\n')[0] ?? '',
    );
    assert.deepEqual([own.kind, own.address, own.fingerprint], ['server', host, fingerprint]);
    const theirs = JSON.parse(
      succeed(['pair', 'list', '--state', server]).stdout.split('\n')[0] ?? '',
    );
    assert.deepEqual(
      [theirs.kind, theirs.name, theirs.copyPaths],
      ['client', 'laptop', [{ path: '/srv/x' }]],
    );
    assert.equal(succeed(['pair', 'remove', 'laptop', '--state', server]).summary.name, 'laptop');
    assert.equal(penstock(['pair', 'remove', 'laptop', '--state', server]).status, 1);
    assertPrivate(server);
    assertPrivate(client);
  } finally {
    daemon.child.kill('SIGTERM');
  }
  const end = await daemon.ended;
  assert.deepEqual([end.status, end.summary.type], [0, 'summary'], end.stderr);
  assert.match(end.stderr, / info {2}paired name=laptop .*\n/);
});

/** The first line that a daemon writes. */
function firstLine(stream: NodeJS.ReadableStream | null): Promise<unknown> {
  return new Promise((resolve) => {
    let text = '';
    const add = (part: string): void => {
      text += part;
      if (!text.includes('\n')) return;
      stream?.off('data', add);
      resolve(JSON.parse(text.split('\n')[0] ?? ''));
    };
    stream?.on('data', add);
  });
}

/** Keys, peers and tokens are for their owner only. */
function assertPrivate(directory: string): void {
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    assert.equal(statSync(join(directory, name)).mode & 0o077, 0, name);
  }
}

test('a token is good once, also for two that use it at the same time', async (context) => {
  const server = await startMonitor(context);
  const { token } = new PendingTokens(server.state, { nowMs: Date.now }).create(
    server.identity,
    GRANT,
    openRandom(),
  );
  const { secret, fingerprint } = decodeToken(token);
  assert.equal(fingerprint, server.identity.fingerprint);
  const results = await Promise.all(
    ['a', 'b', 'c'].map(async (name) => {
      const client = clientOf(server, await newMachine());
      const answer = await client.json('POST', '/v1/pair', { body: { secret, name } }).then(
        () => 'paired',
        (error) => error.code,
      );
      client.close();
      return answer;
    }),
  );
  assert.deepEqual(results.sort(), ['PAIRING_REFUSED', 'PAIRING_REFUSED', 'paired']);
  const [peer, ...others] = new Peers(server.state).list();
  assert.deepEqual([peer?.access, others.length], [GRANT.access, 0]);
});

test('wrong, expired, damaged and guessed tokens pair nobody and tell nothing', async (context) => {
  let nowMs = 1_000_000;
  const server = await startMonitor(context);
  const machine = await newMachine();
  const tokens = new PendingTokens(server.state, { nowMs: () => nowMs });
  // By the monitor's clock it was made in 1970.
  const old = decodeToken(tokens.create(server.identity, GRANT, openRandom()).token).secret;
  const random = seededRandom(7);
  const guesses = Array.from({ length: 4 }, () => random.bytes(16).toString('base64url'));
  const client = clientOf(server, machine);
  const messages = new Set<string>();
  for (const secret of [old, ...guesses]) {
    await assert.rejects(
      client.request('POST', '/v1/pair', { body: { secret, name: 'x' } }),
      (error: { code: string; message: string }) => {
        messages.add(error.message);
        return error.code === 'PAIRING_REFUSED';
      },
    );
  }
  assert.equal(messages.size, 1, 'the same answer whatever is wrong');
  for (const body of [{ secret: '' }, { secret: old, name: 'x', more: 1 }, [], { secret: {} }]) {
    await assert.rejects(client.request('POST', '/v1/pair', { body }), { code: 'FORMAT' });
  }
  const long = { secret: old, name: 'n'.repeat(5000) };
  await assert.rejects(client.request('POST', '/v1/pair', { body: long }), { code: 'LIMIT' });
  client.close();
  assert.deepEqual(new Peers(server.state).list(), []);
  assert.deepEqual(server.state.list('tokens'), [], 'what is too old is removed');

  // By a clock of its own the same token expires, and is not good in the past either.
  const secret = decodeToken(tokens.create(server.identity, GRANT, openRandom()).token).secret;
  nowMs += 3_600_000;
  assert.equal(tokens.use(secret), undefined);
  for (const text of ['', 'x', encodeToken({ fingerprint: 'aa', secret }), `${'A'.repeat(66)}`]) {
    assert.throws(() => decodeToken(text), { code: 'PAIRING_REFUSED' });
  }
});

test('whoever tries too often has to wait', async (context) => {
  const server = await startMonitor(context);
  const machine = await newMachine();
  const client = clientOf(server, machine);
  const secret = Buffer.alloc(16).toString('base64url');
  const codes = await Promise.all(
    Array.from({ length: 12 }, () =>
      client.request('POST', '/v1/pair', { body: { secret, name: 'x' } }).then(
        () => 'paired',
        (error) => error.code,
      ),
    ),
  );
  assert.deepEqual(codes.sort(), [
    ...new Array(2).fill('NET_BUSY'),
    ...new Array(10).fill('PAIRING_REFUSED'),
  ]);
  client.close();
});

test('a token for another machine is not shown to whoever answers', async (context) => {
  const server = await startMonitor(context);
  const other = await newMachine();
  const client = await newMachine();
  const { token } = new PendingTokens(other.state, { nowMs: Date.now }).create(
    other.identity,
    GRANT,
    openRandom(),
  );
  const run = await start([
    ...['pair', `127.0.0.1:${server.monitor.port}`, '--token', token],
    ...['--state', client.directory],
  ]).ended;
  assert.equal(run.status, 1);
  assert.equal(run.errors[0]?.code, 'NET_UNTRUSTED');
  assert.match(String(run.errors[0]?.message), /the token was not made by 127\.0\.0\.1:\d+/);
  assert.deepEqual(new Peers(client.state).list(), []);
  assert.deepEqual(server.log, [], 'no attempt reached it');
});

test('two processes that make an identity at once make the same one; damage is told', async () => {
  const machine = await newMachine();
  const { state, identity } = machine;
  state.remove('identity.crt');
  state.remove('identity.key');
  const both = await Promise.all([openIdentity(state), openIdentity(state), openIdentity(state)]);
  assert.equal(new Set(both.map(({ fingerprint }) => fingerprint)).size, 1);
  assert.notEqual(both[0]?.fingerprint, identity.fingerprint);
  assert.deepEqual(await openIdentity(state), both[0]);
  writeFileSync(join(machine.directory, 'identity.key'), identity.keyPem);
  await assert.rejects(openIdentity(state), { code: 'FORMAT' });
  writeFileSync(join(machine.directory, 'identity.crt'), 'rubbish');
  await assert.rejects(openIdentity(state), { code: 'FORMAT' });
  const files = readdirSync(machine.directory).sort();
  assert.deepEqual(files, ['identity.crt', 'identity.key'], 'nothing temporary is left');
});

test('a peer whose file is damaged is nobody', async (context) => {
  const server = await startMonitor(context);
  const machine = await newMachine();
  const peers = new Peers(server.state);
  const { fingerprint } = machine.identity;
  peers.put({ ...GRANT, name: 'x', fingerprint, kind: 'client', pairedMs: 0 });
  const client = clientOf(server, machine);
  assert.equal((await client.request('GET', '/v1/status')).status, 200);
  const file = join(server.directory, 'peers', `client-${fingerprint}.json`);
  const text = readFileSync(file, 'utf8');
  const spoiled = [
    text.slice(0, -10),
    text.replace('"read"', '"everything"'),
    text.replace('"version": 1', '"version": 2'),
    text.replace(fingerprint, server.identity.fingerprint),
    'null',
    '',
  ];
  for (const wrong of spoiled) {
    writeFileSync(file, wrong);
    // Lost where the daemon has noticed before it was asked.
    const refused = { code: /^NET_(?:REFUSED|LOST)$/ };
    await assert.rejects(client.request('GET', '/v1/status'), refused, wrong);
    assert.deepEqual(peers.list(), []);
  }
  client.close();
});

test('an address that nobody paired with is told so', async () => {
  const { state, identity } = await newMachine();
  assert.throws(() => new Peers(state).server('Example.org', 7420), {
    code: 'NET_UNTRUSTED',
    message: 'this machine is not paired with example.org:7420',
  });
  const nobody = new ApiClient(identity, { host: '127.0.0.1', port: 1, fingerprint: 'aa' });
  await assert.rejects(nobody.request('GET', '/v1/status'), {
    code: 'NET_UNREACHABLE',
    errno: 'ECONNREFUSED',
  });
  nobody.close();
});
