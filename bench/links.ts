/**
 * What is moved between machines, beside what others reach: a large file over loopback (large-copy.ts), and
 * links of a given rate between network namespaces, beside iperf3 on the same link in the same run.
 *
 *     node bench/links.ts [SIZE]       alone; SIZE of the large file, 512M by default
 *
 *   1 Gbit/s             a token bucket at the sending end
 *   4 × 200 Mbit/s       each connection is held to its own rate, known by its address or its port
 *
 * Contract: a pipe that sends random bytes, and iperf3, take turns; both are measured from their first
 * bytes to their last. Where there can be no namespaces, or no iperf3, that is said, and nothing measured.
 */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseSize } from '../src/base/units.ts';
import type { Server } from '../src/channel/net/api-client.ts';
import { openIdentity } from '../src/channel/net/identity.ts';
import { Peers } from '../src/channel/net/peers.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { type Host, Namespaces } from '../test/namespaces.ts';
import { runCommand } from './commands.ts';
import { Figures } from './figures.ts';
import { LARGE_COPY, runLargeCopy } from './large-copy.ts';
import { makeFolder, removeFolders, renewFolder, tmpfsFolder } from './places.ts';
import { endsWithUs } from './server.ts';
import { markdown, megabytes, type Target, targetsTable } from './table.ts';

type Say = (line: string) => void;

const ENDS = fileURLToPath(new URL('./link-ends.ts', import.meta.url));
const MBIT = 1e6 / 8;
const SECONDS = 3;
const CONNECTIONS = 4;
const IPERF_PORT = 5201;
/** Of iperf3's connections; their lowest bits tell them apart. */
const CLIENT_PORT = 40_000;

interface Shape {
  readonly title: string;
  readonly bytesPerSecond: number;
  /** Local addresses over which a pipe spreads its connections. */
  readonly addresses: readonly string[];
  readonly iperf: readonly string[];
  set(link: Namespaces): void;
}

const ONE: Shape = {
  title: 'link of 1 Gbit/s',
  bytesPerSecond: 1000 * MBIT,
  addresses: [],
  iperf: [],
  set: (link) =>
    link.shape(
      link.near,
      ...['qdisc', 'replace', 'dev', link.near.device, 'root'],
      ...['tbf', 'rate', '1gbit', 'burst', '256kb', 'latency', '20ms'],
    ),
};

const CAPPED_ADDRESSES = [11, 12, 13, 14].map((last) => `10.83.0.${last}`);
const CAPPED: Shape = {
  title: 'link with four caps of 200 Mbit/s',
  bytesPerSecond: CONNECTIONS * 200 * MBIT,
  addresses: CAPPED_ADDRESSES,
  iperf: ['-P', String(CONNECTIONS), '--cport', String(CLIENT_PORT)],
  set: setCaps,
};

/** A class of its own for each connection: by its local address, or by the lowest bits of iperf3's port. */
function setCaps(link: Namespaces): void {
  const { near } = link;
  const { device } = near;
  const shape = (...words: string[]): void => link.shape(near, ...words);
  shape('qdisc', 'replace', 'dev', device, 'root', 'handle', '1:', 'htb', 'default', '9');
  const cap = (minor: number, rate: string): void =>
    shape(
      ...['class', 'add', 'dev', device, 'parent', '1:', 'classid', `1:${minor}`],
      ...['htb', 'rate', rate, 'ceil', rate, 'burst', '128kb', 'cburst', '128kb'],
    );
  const filter = (minor: number, ...match: string[]): void =>
    shape(
      ...['filter', 'add', 'dev', device, 'parent', '1:', 'protocol', 'ip', 'prio', '1', 'u32'],
      ...match,
      ...['flowid', `1:${minor}`],
    );
  cap(9, '1gbit');
  for (const [i, address] of CAPPED_ADDRESSES.entries()) {
    link.addAddress(near, address);
    cap(i + 1, '200mbit');
    filter(i + 1, 'match', 'ip', 'src', `${address}/32`);
    filter(i + 1, 'match', 'ip', 'sport', String(CLIENT_PORT + i), '0xffff');
  }
}

/** Measures the shaped links. */
async function runShaped(
  folder: string,
  rounds: number,
  figures: Figures,
  say: Say,
): Promise<void> {
  const whyNot = Namespaces.whyNot();
  if (whyNot !== false) return say(`shaped links are not measured: ${whyNot}`);
  if (spawnSync('iperf3', ['--version']).status !== 0) {
    return say('shaped links are not measured: there is no iperf3');
  }
  for (const shape of [ONE, CAPPED]) {
    const link = new Namespaces();
    try {
      shape.set(link);
      const work = renewFolder(join(folder, 'links'));
      const server = await serveFar(link, work);
      const iperf = await listen(link);
      for (let round = 0; round < rounds; round++) {
        say(`${shape.title}: penstock`);
        const own = await push(link, work, server, shape);
        figures.add(shape.title, 'penstock', 'bytes a second', own);
        say(`${shape.title}: iperf3`);
        figures.add(shape.title, 'iperf3', 'bytes a second', await measureIperf(link, shape));
      }
      await iperf();
    } finally {
      link.remove();
    }
  }
}

/** Starts a program on a machine; `said`: its first line. */
function start(
  link: Namespaces,
  host: Host,
  program: string,
  args: readonly string[],
): { readonly said: Promise<string>; readonly end: () => Promise<void> } {
  const child = spawn(...link.on(host, program, args), { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = endsWithUs(child);
  const said = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('close', () => reject(new Error(`${program} ended at its start`)));
  });
  return { said, end };
}

/** The far end of the pipes, with which the near one is paired. */
async function serveFar(link: Namespaces, work: string): Promise<Server> {
  const client = await openIdentity(new StateFolder(renewFolder(join(work, 'near'))));
  const state = renewFolder(join(work, 'far'));
  new Peers(new StateFolder(state)).put({
    ...{ name: 'near', kind: 'client', fingerprint: client.fingerprint },
    ...{ access: [], copyPaths: [], pairedMs: 0 },
  });
  const { address } = link.far;
  const { said } = start(link, link.far, process.execPath, [ENDS, 'serve', state, address]);
  return { host: address, ...(JSON.parse(await said) as { port: number; fingerprint: string }) };
}

async function listen(link: Namespaces): Promise<() => Promise<void>> {
  const args = ['-s', '-p', String(IPERF_PORT), '--forceflush'];
  const { said, end } = start(link, link.far, 'iperf3', args);
  await said;
  return end;
}

/** Bytes a second of a pipe. */
async function push(
  link: Namespaces,
  work: string,
  server: Server,
  { bytesPerSecond, addresses }: Shape,
): Promise<number> {
  const bytes = String(bytesPerSecond * SECONDS);
  const args = [ENDS, 'push', join(work, 'near'), JSON.stringify(server), bytes, ...addresses];
  const [program, words] = link.on(link.near, process.execPath, args);
  const { output } = await runCommand({ program, args: words });
  return (JSON.parse(output) as { bytesPerSecond: number }).bytesPerSecond;
}

async function measureIperf(link: Namespaces, { iperf }: Shape): Promise<number> {
  const args = ['-c', link.far.address, '-p', String(IPERF_PORT), '-t', String(SECONDS), '-f', 'k'];
  const [program, words] = link.on(link.near, 'iperf3', [...args, ...iperf]);
  const { output } = await runCommand({ program, args: words });
  const lines = output.split('\n').filter((line) => line.includes('receiver'));
  const kilobits = Number(/([\d.]+) Kbits\/sec/.exec(lines.at(-1) ?? '')?.[1]);
  return (kilobits * 1000) / 8;
}

/** Measures all of it; `bytes`: of the large file, 0 for none. */
export async function runLinks(
  folder: string,
  bytes: number,
  rounds: number,
  say: Say,
): Promise<Figures> {
  const figures = new Figures();
  if (bytes > 0) await runLargeCopy(folder, bytes, rounds, figures, say);
  await runShaped(folder, rounds, figures, say);
  return figures;
}

const SHARE_LEAST = 0.97;
const COST_MOST = 1.2;

/** What is asked for, and whether the figures show it. */
export function linkTargets(figures: Figures): Target[] {
  const rate = (work: string, program: string): number | undefined =>
    figures.of(work, program, 'bytes a second');
  const share = (work: string, other: string, least: number): Target => {
    const own = rate(work, 'penstock');
    const theirs = rate(work, other);
    const got = own === undefined || theirs === undefined ? undefined : own / theirs;
    return {
      what: `${work}, of what ${other} reaches`,
      least: percent(least),
      got: got === undefined ? undefined : percent(got),
      ok: got !== undefined && got >= least,
    };
  };
  const cost = (program: string): number =>
    figures.of(LARGE_COPY, program, 'cpu seconds') ?? Number.NaN;
  const times = cost('penstock') / (cost('TLS') + cost('reading') + cost('writing'));
  return [
    share(LARGE_COPY, 'rsync', 1),
    {
      what: `${LARGE_COPY}: processor time of both ends, of TLS + reading + writing`,
      least: `≤ ${percent(COST_MOST)}`,
      got: Number.isNaN(times) ? undefined : percent(times),
      ok: times <= COST_MOST,
    },
    ...[ONE, CAPPED].map(({ title }) => share(title, 'iperf3', SHARE_LEAST)),
  ];
}

/** Rates, and the processor time of both ends, where it was measured. */
export function linksTable(figures: Figures): string {
  const programs = ['penstock', 'rsync', 'iperf3', 'TLS', 'reading', 'writing'] as const;
  const rows = figures.works.map((work) => [
    work,
    ...programs.map((program) => {
      const rate = figures.of(work, program, 'bytes a second');
      const cpu = figures.of(work, program, 'cpu seconds');
      if (rate === undefined) return '';
      return `${megabytes(rate)}/s${cpu === undefined ? '' : `, ${cpu.toFixed(2)} s/GB`}`;
    }),
  ]);
  return markdown(['between machines; processor time of both ends', ...programs], rows);
}

const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;

if (import.meta.main) {
  const folder = makeFolder(tmpfsFolder());
  process.once('exit', removeFolders);
  const say: Say = (line) => void process.stderr.write(`${line}\n`);
  const figures = await runLinks(folder, parseSize(process.argv[2] ?? '512M'), 2, say);
  process.stdout.write(`${linksTable(figures)}\n\n${targetsTable(linkTargets(figures))}\n`);
}
