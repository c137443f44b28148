/**
 * Goal: a served repository gives each machine what it was granted and nothing else; nothing that a
 * client sends leaves the repository's directory, changes what is stored, or is collected in memory.
 * Method: a monitor in this process, asked as any client could ask it; its directory is looked at.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { LIMITS } from '../../src/base/limits.ts';
import type { ApiClient } from '../../src/channel/net/api-client.ts';
import type { AccessLevel } from '../../src/channel/net/peers.ts';
import { clientTls } from '../../src/channel/net/pinned-tls.ts';
import { scratchFolder } from '../commands.ts';
import {
  type Machine,
  newMachine,
  pairedClient,
  startMonitor,
  type TestMonitor,
} from '../monitor-fixture.ts';

const SCRATCH = scratchFolder();
const BASE = '/v1/repositories/home';
const CHUNK = '00112233445566778899aabbccddeeff';
const SESSION = 'ab'.repeat(16);
const OTHER = 'cd'.repeat(16);
const PARTS = `${BASE}/chunks/${CHUNK}/parts`;
const COMMIT = `${BASE}/chunks/${CHUNK}/commit`;
let count = 0;

interface Setting {
  readonly server: TestMonitor;
  readonly directory: string;
  readonly full: ApiClient;
  client(level: AccessLevel, repository?: string): Promise<ApiClient>;
}

async function setUp(context: TestContext): Promise<Setting> {
  const directory = join(SCRATCH, `home-${count++}`);
  const repositories = new Map([
    ['home', directory],
    ['other', `${directory}-other`],
  ]);
  const server = await startMonitor(context, { repositories });
  const client = async (level: AccessLevel, repository = 'home'): Promise<ApiClient> => {
    const access = [{ repository, level }];
    const made = pairedClient(server, await newMachine(), { name: level, access });
    context.after(() => made.close());
    return made;
  };
  const full = await client('full', '*');
  await full.request('POST', `${BASE}/prepare`);
  return { server, directory, full, client };
}

function refused(asked: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(
    asked,
    (error: { code: string }) => error.code === code || assert.fail(error as never),
  );
}

async function put(client: ApiClient, path: string, text: string): Promise<number> {
  return (await client.request('PUT', path, { body: Buffer.from(text) })).status;
}

test('what each level of access may do', async (context) => {
  const { full, client } = await setUp(context);
  const append = await client('append');
  const read = await client('read');
  assert.equal(await put(append, `${BASE}/objects/keys/k.1`, 'key'), 201);
  assert.equal(await put(append, `${BASE}/objects/repository/repository`, 'record'), 201);
  // Once the repository is there, nobody puts another key in place of an old one.
  await refused(put(append, `${BASE}/objects/keys/k.2`, 'key'), 'NET_DENIED');
  for (const kind of ['leases', 'pending', 'index', 'maps'])
    assert.equal(await put(append, `${BASE}/objects/${kind}/a`, 'bytes'), 201, kind);
  for (const kind of ['archives', 'condemned', 'deleting', 'verdicts'])
    await refused(put(append, `${BASE}/objects/${kind}/a`, 'bytes'), 'NET_DENIED');
  await refused(put(append, `${BASE}/objects/index/a`, 'other'), 'OBJECT_EXISTS');
  await append.request('POST', `${BASE}/objects/pending/a/publish?to=archives`);
  for (const path of ['archives/a', 'index/a', 'maps/a', 'keys/k.1', 'repository/repository'])
    await refused(append.request('DELETE', `${BASE}/objects/${path}`), 'NET_DENIED');
  await refused(append.request('POST', `${BASE}/sweep?olderThanMs=0`), 'NET_DENIED');
  await refused(append.request('POST', `${BASE}/objects/archives/a/touch`), 'NET_DENIED');
  await append.request('POST', `${BASE}/objects/leases/a/touch`);
  await append.request('DELETE', `${BASE}/objects/leases/a`);
  for (const [method, path] of [
    ['PUT', 'objects/leases/b'],
    ['POST', 'prepare'],
    ['DELETE', 'objects/archives/a'],
    ['POST', 'objects/leases/a/touch'],
    ['PUT', `chunks/${CHUNK}/parts?session=${SESSION}&position=0`],
  ] as const)
    await refused(read.request(method, `${BASE}/${path}`), 'NET_DENIED');
  assert.equal((await read.request('GET', `${BASE}/objects/archives/a`)).body.toString(), 'bytes');
  assert.equal(
    (await full.json<{ done: boolean }>('DELETE', `${BASE}/objects/archives/a`)).done,
    true,
  );
});

test('leases and pending records are their own machine’s to remove and publish', async (context) => {
  const { client } = await setUp(context);
  const one = await client('append');
  const two = await client('append');
  await put(one, `${BASE}/objects/leases/a`, 'lease');
  await put(one, `${BASE}/objects/pending/a`, 'record');
  await refused(put(two, `${BASE}/objects/leases/a`, 'mine'), 'OBJECT_EXISTS');
  await refused(two.request('DELETE', `${BASE}/objects/leases/a`), 'NET_DENIED');
  await refused(two.request('DELETE', `${BASE}/objects/pending/a`), 'NET_DENIED');
  await refused(two.request('POST', `${BASE}/objects/pending/a/publish?to=archives`), 'NET_DENIED');
  await one.request('DELETE', `${BASE}/objects/pending/a`);
});

test('access to one repository gives none to another, nor its name', async (context) => {
  const { client } = await setUp(context);
  const own = await client('full', 'home');
  for (const name of ['other', 'nowhere'])
    await refused(own.request('GET', `/v1/repositories/${name}/objects/keys`), 'NET_DENIED');
});

test('parts come in any order and again; the commit may be repeated', async (context) => {
  const { directory, full } = await setUp(context);
  const part = (position: number, text: string): Promise<number> =>
    put(full, `${PARTS}?session=${SESSION}&position=${position}`, text);
  await part(8, '89abcdef');
  await refused(full.request('POST', `${COMMIT}?session=${SESSION}&bytes=17`), 'FORMAT');
  await part(0, '0123xxxx');
  await part(0, '01234567');
  for (let again = 0; again < 3; again++)
    await full.request('POST', `${COMMIT}?session=${SESSION}&bytes=16`);
  const stored = join(directory, 'chunks/00', CHUNK);
  assert.equal(readFileSync(stored, 'latin1'), '0123456789abcdef');
  // Neither its writer nor anybody else writes to it any more.
  await part(0, 'XXXXXXXX');
  await put(full, `${PARTS}?session=${OTHER}&position=0`, 'YYYYYYYYYYYYYYYY');
  await refused(full.request('POST', `${COMMIT}?session=${OTHER}&bytes=16`), 'REPO_IO');
  await refused(put(full, `${BASE}/objects/chunks/${CHUNK}`, 'Z'), 'FORMAT');
  assert.equal(readFileSync(stored, 'latin1'), '0123456789abcdef');
  for (const session of [SESSION, OTHER])
    await full.request('DELETE', `${PARTS}?session=${session}`);
  assert.deepEqual(readdirSync(join(directory, 'writing')), []);
  assert.equal(readFileSync(stored, 'latin1'), '0123456789abcdef');
});

test('ranges of what is stored', async (context) => {
  const { full } = await setUp(context);
  await put(full, `${BASE}/objects/index/a`, '0123456789');
  const range = async (text: string): Promise<string> => {
    const headers = { range: `bytes=${text}` };
    const answer = await full.request('GET', `${BASE}/objects/index/a`, { headers });
    assert.equal(answer.status, 206);
    return `${answer.body} ${answer.headers['content-range']}`;
  };
  assert.equal(await range('2-4'), '234 bytes 2-4/10');
  assert.equal(await range('8-99'), '89 bytes 8-9/10');
  for (const bad of ['10-12', '5-4', '-3', '3-', '0-1,3-4', 'x'])
    await refused(range(bad), 'FORMAT');
});

test('listings are given a page at a time', async (context) => {
  const { directory, full } = await setUp(context);
  const names = Array.from({ length: 10_003 }, (_, i) => `m${String(i).padStart(6, '0')}`);
  for (const name of names) writeFileSync(join(directory, 'maps', name), '');
  type Page = { objects: { name: string }[]; more: boolean };
  const first = await full.json<Page>('GET', `${BASE}/objects/maps`);
  assert.deepEqual([first.objects.length, first.more], [10_000, true]);
  const after = first.objects.at(-1)?.name ?? '';
  const second = await full.json<Page>('GET', `${BASE}/objects/maps?after=${after}`);
  assert.equal(second.more, false);
  assert.deepEqual(
    [...first.objects, ...second.objects].map(({ name }) => name),
    names,
  );
});

test('names and numbers that mean something else are refused', async (context) => {
  const { directory, full } = await setUp(context);
  writeFileSync(join(SCRATCH, 'secret'), 'secret');
  for (const name of ['..%2f..%2fsecret', '%2e%2e', '.hidden', 'a%00b', `${'n'.repeat(130)}`])
    await refused(put(full, `${BASE}/objects/keys/${name}`, 'x'), 'FORMAT').catch(() =>
      // Longer than a router takes: there is no such route.
      refused(put(full, `${BASE}/objects/keys/${name}`, 'x'), 'NOT_SUPPORTED'),
    );
  for (const path of [
    'objects/writing',
    'objects/..',
    'objects/keys?after=..%2f',
    `chunks/${CHUNK.slice(2)}`,
  ])
    await refused(full.request('GET', `${BASE}/${path}`), 'FORMAT');
  for (const query of [
    `session=${SESSION}&position=-1`,
    `session=${SESSION}&position=1e3`,
    `session=..%2fx&position=0`,
    'position=0',
    `session=${SESSION}&position=99999999999999999999`,
  ])
    await refused(put(full, `${PARTS}?${query}`, 'x'), 'FORMAT');
  const publish = `${BASE}/objects/keys/a/publish?to=archives`;
  await refused(full.request('POST', publish), 'FORMAT');
  assert.deepEqual(readdirSync(join(directory, 'writing')), []);
});

test('a commit ends nobody else’s parts of a chunk of the same name', async (context) => {
  const setting = await setUp(context);
  const { server, client, directory } = setting;
  const second = await client('append');
  const query = `session=${SESSION}`;
  const machine = await newMachine();
  pairedClient(server, machine, {
    name: 'slow',
    access: [{ repository: 'home', level: 'append' }],
  });
  const slow = await slowPut(setting, machine, `${PARTS}?${query}&position=0`, 'abcdef');
  // The other machine knows chunk and session, and commits its own.
  await second.request('PUT', `${PARTS}?${query}&position=0`, { body: Buffer.from('xyz') });
  await second.request('POST', `${COMMIT}?${query}&bytes=3`);
  assert.match(await slow.finish(), /^HTTP\/1\.1 200/);
  const stored = readFileSync(join(directory, 'chunks', CHUNK.slice(0, 2), CHUNK), 'utf8');
  assert.equal(stored, 'xyz');
});

test('who began to put a key before the repository was there puts none afterwards', async (context) => {
  const setting = await setUp(context);
  const { server, client } = setting;
  const owner = await client('append');
  const machine = await newMachine();
  pairedClient(server, machine, {
    name: 'slow',
    access: [{ repository: 'home', level: 'append' }],
  });
  const slow = await slowPut(setting, machine, `${BASE}/objects/keys/k.9`, 'a planted key');
  assert.equal(await put(owner, `${BASE}/objects/repository/repository`, 'record'), 201);
  assert.match(await slow.finish(), /^HTTP\/1\.1 403/);
  await refused(owner.request('GET', `${BASE}/objects/keys/k.9`), 'OBJECT_MISSING');
});

test('a chunk has no more bytes than a chunk may have', async (context) => {
  const { client } = await setUp(context);
  const append = await client('append');
  const part = `${PARTS}?session=${SESSION}&position=${LIMITS.chunkSentBytesMax + 1}`;
  await refused(append.request('PUT', part, { body: Buffer.from('x') }), 'LIMIT');
});

/** A request whose body has come half when this resolves; `finish` sends the rest, and gives the answer. */
async function slowPut(
  { server: { monitor }, directory }: Setting,
  machine: Machine,
  path: string,
  body: string,
): Promise<{ finish(): Promise<string> }> {
  const tls = { ...clientTls(machine.identity), host: '127.0.0.1', port: monitor.port };
  const socket = connect(tls);
  await once(socket, 'secureConnect');
  let answer = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    answer += text;
  });
  const head = ['PUT', path, 'HTTP/1.1\r\nhost: x\r\nconnection: close\r\n'].join(' ');
  const type = 'content-type: application/octet-stream\r\n';
  const half = body.length >> 1;
  socket.write(`${head}${type}content-length: ${body.length}\r\n\r\n${body.slice(0, half)}`);
  while (readdirSync(join(directory, 'writing')).length === 0) await sleep(5);
  return {
    finish: async () => {
      const closed = once(socket, 'close');
      socket.write(body.slice(half));
      await closed;
      return answer;
    },
  };
}

test('a body that is too long is not taken', async (context) => {
  const { directory, full } = await setUp(context);
  const body = Buffer.alloc((4 << 20) + 1);
  await assert.rejects(
    full.request('PUT', `${PARTS}?session=${SESSION}&position=0`, { body }),
    // The server may hang up before it is sent as a whole.
    (error: { code: string }) => ['LIMIT', 'NET_LOST'].includes(error.code),
  );
  await full.request('DELETE', `${PARTS}?session=${SESSION}`);
  assert.deepEqual(readdirSync(join(directory, 'writing')), []);
});

test('a directory that holds other things is not made a repository', async (context) => {
  const { directory, full } = await setUp(context);
  mkdirSync(`${directory}-other`);
  writeFileSync(join(`${directory}-other`, 'letter.txt'), 'mine');
  await refused(full.request('POST', '/v1/repositories/other/prepare'), 'REPO_MISSING');
  assert(!existsSync(join(`${directory}-other`, 'chunks')));
});
