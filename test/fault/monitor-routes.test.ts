/**
 * Goal: whatever a paired machine asks any route of the monitor, it is answered as the description
 * says, never by a defect, and nothing outside the repository is touched.
 * Method: for each operation of the description a fixed number of seeded requests with right, wrong
 * and hostile parameters and bodies, by machines with each level of access.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ApiClient } from '../../src/channel/net/api-client.ts';
import { ACCESS_LEVELS } from '../../src/channel/net/peers.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { scratchFolder } from '../commands.ts';
import { newMachine, pairedClient, startMonitor } from '../monitor-fixture.ts';
import type { Description, Operation, Parameter } from '../openapi.ts';

const SCRATCH = scratchFolder();
const SEED = 20261122;
const CASES_PER_OPERATION = 16;
/** What nobody may reach from the repository beside it. */
const PRECIOUS = 'must stay';

const HOSTILE = [
  '..',
  '../precious',
  '%2e%2e/precious',
  '..%2fprecious',
  '%00',
  'a%00b',
  '%ff%fe',
  '%zz',
  '__proto__',
  'constructor',
  '*',
  '-1',
  '1e9',
  '9007199254740993',
  '999999999999999',
  'NaN',
  '',
  'x'.repeat(300),
  '\u{1f4a9}',
];
const RIGHT: Readonly<Record<string, readonly string[]>> = {
  repository: ['home', 'home', 'none'],
  kind: ['client', 'chunks', 'archives', 'pending', 'index', 'leases', 'keys', 'repository'],
  name: ['a', 'repository', '0'.repeat(32), 'b.c-d_e'],
  id: ['0'.repeat(32), 'f'.repeat(32)],
  session: ['1'.repeat(32), '2'.repeat(32)],
  fingerprint: ['0'.repeat(64)],
  position: ['0', '5', '4096'],
  bytes: ['0', '9'],
  olderThanMs: ['0', '100000'],
  to: ['archives', 'keys'],
};

type Pick = <T>(from: readonly T[]) => T;

function valueFor({ name }: Parameter, pick: Pick): string {
  const right = RIGHT[name];
  if (right !== undefined && pick([true, true, true, false])) return pick(right);
  const hostile = pick(HOSTILE);
  return pick([hostile, encodeURIComponent(hostile.startsWith('%') ? 'z' : hostile)]);
}

function pathFor(path: string, parameters: readonly Parameter[], pick: Pick): string {
  let filled = path;
  const query: string[] = [];
  for (const parameter of parameters) {
    const value = valueFor(parameter, pick);
    if (parameter.in === 'path') filled = filled.replace(`{${parameter.name}}`, () => value);
    if (parameter.in === 'query' && pick([true, true, true, false])) {
      query.push(`${parameter.name}=${value}`);
    }
  }
  // Only what can stand in a request line at all.
  return `${filled}${query.length === 0 ? '' : `?${query.join('&')}`}`.replaceAll(/[^!-~]/g, '_');
}

const BODIES = [
  undefined,
  {},
  { secret: 1, name: {} },
  { name: 'x', extra: true },
  [[[[]]]],
  Buffer.from('{'),
  Buffer.alloc(0),
  Buffer.from('bytes of an object'),
  Buffer.alloc(5000, 1),
];
const TYPES = ['application/json', 'application/octet-stream', 'text/plain', 'x'];

async function ask(
  client: ApiClient,
  method: string,
  path: string,
  pick: Pick,
): Promise<string | undefined> {
  const body = method === 'GET' ? undefined : pick(BODIES);
  const headers = body instanceof Uint8Array ? { 'content-type': pick(TYPES) } : {};
  const options = { headers, ...(body === undefined ? {} : { body }) };
  return client.request(method, path, options).then(
    () => undefined,
    (error) => error.code,
  );
}

test('every operation bears every request', async (context) => {
  const repository = join(SCRATCH, 'home');
  mkdirSync(repository);
  writeFileSync(join(SCRATCH, 'precious'), PRECIOUS);
  const store = openDirectoryStore(repository, true);
  await store.prepare();
  await store.close();
  const server = await startMonitor(context, { repositories: new Map([['home', repository]]) });
  const clients: ApiClient[] = [];
  for (const level of ACCESS_LEVELS) {
    const access = [{ repository: level === 'full' ? '*' : 'home', level }];
    clients.push(pairedClient(server, await newMachine(), { name: level, access }));
  }
  const description = await clients[0]?.json<Description>('GET', '/v1/openapi.json');
  assert(description !== undefined);
  const random = seededRandom(SEED);
  const pick: Pick = (from) => {
    const at = random.bytes(4).readUInt32LE() % from.length;
    return from[at] as (typeof from)[number];
  };
  const codes = new Map<string, number>();
  for (const [path, operations] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      assertDescription(path, operation);
      for (let i = 0; i < CASES_PER_OPERATION; i++) {
        const filled = pathFor(path, operation.parameters, pick);
        const code = (await ask(pick(clients), method.toUpperCase(), filled, pick)) ?? 'done';
        codes.set(code, (codes.get(code) ?? 0) + 1);
        const defects = ['INTERNAL', 'NET_PROTOCOL', 'NET_LOST', 'NET_UNREACHABLE', 'HOST_IO'];
        assert(!defects.includes(code), `${method} ${filled}: ${code}\n${server.log.at(-1)}`);
      }
    }
  }
  for (const client of clients) client.close();
  context.diagnostic(JSON.stringify(Object.fromEntries(codes)));
  for (const code of ['done', 'FORMAT', 'NET_DENIED']) {
    assert((codes.get(code) ?? 0) > 10, `${code} was hardly answered: the cases are too one-sided`);
  }
  assert.deepEqual(readdirSync(SCRATCH).sort(), ['home', 'precious']);
});

/** The description has what a reader needs, and its path and parameters agree. */
function assertDescription(path: string, operation: Operation): void {
  assert.match(operation.summary, /^\S/, path);
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const described = operation.parameters.filter((parameter) => parameter.in === 'path');
  assert.deepEqual(described.map(({ name }) => name).sort(), inPath.sort(), path);
  const statuses = Object.keys(operation.responses);
  assert(
    statuses.some((status) => status.startsWith('2')),
    `${path} has an answer`,
  );
  assert(statuses.includes('default'), `${path} has errors`);
}
