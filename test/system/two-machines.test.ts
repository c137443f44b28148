/**
 * Two machines with a link between them, which is cut.
 *
 * Goal: what needs both (pairing, backups, copies, pipes) survives a link that is down for a moment; if it
 * stays down, each side ends what it had begun within seconds, and goes on from there later.
 * Method: two network namespaces with a daemon in each; the commands run as users start them.
 */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fromText } from '../../src/base/bytes.ts';
import type { Server } from '../../src/channel/net/api-client.ts';
import { scratchFolder } from '../commands.ts';
import { type Host, Namespaces } from '../namespaces.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { type JsonLine, parseLines } from './workplace.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));
const DAEMON = fileURLToPath(new URL('../pipe-daemon.ts', import.meta.url));
const INITIATOR = fileURLToPath(new URL('../pipe-initiator.ts', import.meta.url));
const MIB = 1 << 20;
const BUFFERS = 300;
const skip = Namespaces.whyNot();

const scratch = scratchFolder();
const source = join(scratch, 'source');
const there = join(scratch, 'there');
const repository = join(scratch, 'repository');
let link: Namespaces;
let pipeServer: Server;
let url: string;

const stateOf = (host: Host): string => join(scratch, host === link.near ? 'near' : 'far');

/** Starts a program on a machine. */
function start(host: Host, script: string, args: readonly string[]): ChildProcess {
  return spawn(...link.on(host, process.execPath, [script, ...args]), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: scratch,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      PENSTOCK_STATE: stateOf(host),
      PENSTOCK_REPO: url,
      PENSTOCK_PASSPHRASE: 'correct horse',
    },
  });
}

interface Ended {
  readonly status: number | null;
  readonly records: readonly JsonLine[];
  readonly said: string;
}

/** Starts a command on a machine; resolves with how it ended. */
async function run(host: Host, ...args: string[]): Promise<Ended> {
  const child = start(host, LAUNCHER, [...args, '--json']);
  const told = await textOf(child);
  return { status: child.exitCode, records: parseLines(told.out), said: told.out + told.errors };
}

async function must(host: Host, ...args: string[]): Promise<JsonLine> {
  const { status, records, said } = await run(host, ...args);
  equal(status, 0, `${args.join(' ')}: ${said}`);
  return records.at(-1) ?? { type: 'none' };
}

async function textOf(child: ChildProcess): Promise<{ out: string; errors: string }> {
  const told = { out: '', errors: '' };
  child.stdout?.on('data', (bytes) => {
    told.out += bytes;
  });
  child.stderr?.on('data', (bytes) => {
    told.errors += bytes;
  });
  await once(child, 'close');
  return told;
}

/** The first line that a daemon says. */
async function listening(child: ChildProcess): Promise<JsonLine> {
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  child.stderr?.resume();
  const [line] = (await once(lines, 'line')) as [string];
  return JSON.parse(line) as JsonLine;
}

/** Lets `client` do on `server` what the words say, as users do it. */
async function pair(client: Host, server: Host, ...words: string[]): Promise<void> {
  const { token } = await must(server, 'pair', 'token', ...words);
  await must(client, 'pair', server.address, '--token', String(token));
}

function fill(folder: string, seed: string): void {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < 8; i++) writeFileSync(join(folder, `file${i}`), noise(MIB / 4, seed + i));
}
const tree = (path: string) => capture(fromText(path));
/** Everything below a folder. */
const listed = (folder: string): string[] => readdirSync(folder, { recursive: true }) as string[];

/** A pipe of so many buffers; resolves with what its initiator says at the end. */
async function pipe(buffers = BUFFERS, onBegun = (): void => undefined): Promise<string> {
  const args = [stateOf(link.near), JSON.stringify(pipeServer), String(buffers)];
  const child = start(link.near, INITIATOR, args);
  // Its name, once something has passed.
  child.stdout?.once('data', onBegun);
  const { out } = await textOf(child);
  return out.trim().split('\n').at(-1) ?? '';
}

/** Names of the stages of all pipes of the far machine's daemon. */
async function stagesOnFar(): Promise<string[]> {
  const { records } = await run(link.far, 'pipes');
  const pipes = records.filter(({ type }) => type === 'pipe');
  return pipes.flatMap(({ stages }) => stages.map(({ name }: { name: string }) => name));
}

/** Waits until nothing runs and no connection is up but for the daemons'. */
async function settled(): Promise<void> {
  while (link.processes(link.near).length > 1) await sleep(50);
  while (link.connections(link.near).length > 0) await sleep(50);
  while ((await stagesOnFar()).length > 0) await sleep(50);
}

if (skip === false) {
  before(async () => {
    link = new Namespaces();
    const { near, far } = link;
    url = `penstock://${far.address}/home`;
    mkdirSync(there);
    fill(source, 'a');
    const serve = (host: Host, ...more: string[]): Promise<JsonLine> =>
      listening(
        start(host, LAUNCHER, ['serve', '--listen', `${host.address}:7420`, '--json', ...more]),
      );
    await Promise.all([serve(far, '--repo', `home=${repository}`), serve(near)]);
    await pair(near, far, '--access', 'full', '--copy-path', there);
    await pair(far, near, '--copy-path', source);
    await must(near, 'init');
    // Its modules are the tests' own; it is a second daemon on the far machine with the same state.
    const told = await listening(start(far, DAEMON, [stateOf(far), far.address]));
    pipeServer = {
      host: far.address,
      port: Number(told.port),
      fingerprint: String(told.fingerprint),
    };
  });
  after(() => link.remove());
}

test('what runs over a link that is down for a moment goes on', { skip }, async () => {
  const { near, far } = link;
  const limited = ['--limit-rate', '1M'];
  const works = Promise.all([
    run(near, 'backup', source, ...limited),
    run(near, 'copy', source, `${far.address}:${there}/pushed`, ...limited),
    run(far, 'copy', `${near.address}:${source}`, join(there, 'pulled')),
    pipe(),
  ]);
  await link.sent(near, MIB);
  link.cut();
  await sleep(1000);
  link.join();
  const [backup, pushed, pulled, arrived] = await works;
  for (const { status, said } of [backup, pushed, pulled]) equal(status, 0, said);
  equal(arrived, String(BUFFERS));
  assertSameTree(tree(join(there, 'pushed')), tree(source));
  assertSameTree(tree(join(there, 'pulled')), tree(source));
  await must(near, 'check', '--read-data');
  await settled();
});

test('a link that stays down ends both sides, and later they go on', { skip }, async () => {
  const { near, far } = link;
  fill(join(source, 'more'), 'b');
  // So slow that none of them has ended when the link goes down.
  const limits = ['--limit-rate', '50K', '--reconnect-limit', '2s'];
  const begun = Promise.withResolvers<void>();
  const works = Promise.all([
    run(near, 'backup', source, ...limits),
    run(near, 'copy', source, `${far.address}:${there}/pushed`, ...limits),
    pipe(1e6, begun.resolve),
  ]);
  await begun.promise;
  while (!(await stagesOnFar()).includes('write')) await sleep(20);
  while (readdirSync(join(repository, 'writing')).length === 0) await sleep(20);
  link.cut();
  const [backup, pushed, ended] = await works;
  for (const { status, records } of [backup, pushed]) {
    equal(status, 1);
    equal(records.find(({ type }) => type === 'error')?.code, 'NET_LOST');
  }
  equal(ended, 'NET_LOST');
  await settled();
  const unfinished = listed(there).filter((name) => /\.penstock\./.test(name));
  deepEqual(unfinished, [], 'nothing half written is left');
  link.join();

  await must(near, 'backup', source);
  await must(near, 'check', '--read-data');
  const target = join(scratch, 'restored');
  await must(near, 'restore', 'latest', '--target', target);
  assertSameTree(tree(join(target, source)), tree(source));
  const again = await must(near, 'copy', source, `${far.address}:${there}/pushed`);
  ok(again.filesDone <= 8, 'what had arrived is not sent again');
  assertSameTree(tree(join(there, 'pushed')), tree(source));
  equal(await pipe(), String(BUFFERS));
  await settled();
});

test('each side serves the other until it is told to end', { skip }, async () => {
  const { near, far } = link;
  for (const [host, peer] of [
    [near, far],
    [far, near],
  ] as const) {
    const { records } = await run(host, 'pair', 'list');
    const kinds = records.filter(({ type }) => type === 'peer').map(({ kind }) => kind);
    deepEqual(kinds.sort(), ['client', 'server'], `${host.address} knows ${peer.address}`);
  }
  match(JSON.stringify((await run(near, 'archives')).records), /"type":"archive"/);
});
