/**
 * Two machines as far as one can show them: two network namespaces of Linux, joined by one link, which can
 * be cut and shaped. Programs run in them with `ip netns exec`.
 *
 * Contract: `whyNot` tells why this is not possible here (it takes root and iproute2). Whatever runs in them
 * is ended, and both are removed, with `remove` or when the process ends.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** One of the two machines. */
export interface Host {
  /** Its namespace, and the name of its end of the link. */
  readonly name: string;
  readonly device: string;
  /** The first of its addresses on the link. */
  readonly address: string;
}

const NETWORK = '10.83.0';
const DEVICE = 'link0';
let count = 0;
let reason: string | false | undefined;

export class Namespaces {
  readonly near: Host;
  readonly far: Host;
  readonly #onExit = (): void => this.remove();

  constructor() {
    const name = `penstock-${process.pid}-${count++}`;
    this.near = { name: `${name}-near`, device: DEVICE, address: `${NETWORK}.1` };
    this.far = { name: `${name}-far`, device: DEVICE, address: `${NETWORK}.2` };
    process.once('exit', this.#onExit);
    for (const host of [this.near, this.far]) must('netns', 'add', host.name);
    const { near, far } = this;
    must(
      ...['link', 'add', near.device, 'netns', near.name, 'type', 'veth'],
      ...['peer', 'name', far.device, 'netns', far.name],
    );
    for (const host of [near, far]) {
      this.addAddress(host, host.address);
      must('-n', host.name, 'link', 'set', 'lo', 'up');
      must('-n', host.name, 'link', 'set', host.device, 'up');
    }
  }

  /** Why there can be no namespaces here; false where there can. */
  static whyNot(): string | false {
    reason ??= findReason();
    return reason;
  }

  /** One more address of a machine on the link. */
  addAddress({ name, device }: Host, address: string): void {
    must('-n', name, 'address', 'add', `${address}/24`, 'dev', device);
  }

  /** Program and arguments that run another one on a machine. */
  on({ name }: Host, program: string, args: readonly string[]): [string, string[]] {
    return ['ip', ['netns', 'exec', name, program, ...args]];
  }

  /** The link is down: nothing passes, and nobody is told. */
  cut(): void {
    must('-n', this.near.name, 'link', 'set', this.near.device, 'down');
  }

  /** The link is up again. */
  join(): void {
    must('-n', this.near.name, 'link', 'set', this.near.device, 'up');
  }

  /** Shapes what leaves a machine: words of `tc`, from `qdisc` or `filter` on. */
  shape({ name }: Host, ...words: string[]): void {
    const { status, stderr } = spawnSync('tc', ['-n', name, ...words], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`tc ${words.join(' ')}: ${stderr.trim()}`);
  }

  /** Bytes that a machine has sent over the link so far. */
  sentBytes({ name, device }: Host): number {
    const told = must('-n', name, '-s', '-j', 'link', 'show', 'dev', device);
    const [link] = JSON.parse(told) as { stats64: { tx: { bytes: number } } }[];
    return link?.stats64.tx.bytes ?? 0;
  }

  /** Resolves once a machine has sent so many bytes more. */
  async sent(host: Host, bytes: number): Promise<void> {
    const until = this.sentBytes(host) + bytes;
    while (this.sentBytes(host) < until) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** Connections of a machine that are up, as `from to`. */
  connections({ name }: Host): string[] {
    const program = ['netns', 'exec', name, 'cat', '/proc/net/tcp'];
    const [, ...lines] = must(...program)
      .trim()
      .split('\n');
    const established = '01';
    return lines
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state]) => state === established)
      .map(([, from, to]) => `${from} ${to}`);
  }

  /** Command lines of the processes of a machine. */
  processes({ name }: Host): string[] {
    return this.#pids(name).map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      } catch {
        return '';
      }
    });
  }
  #pids(name: string): number[] {
    const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
    return stdout.trim().split('\n').filter(Boolean).map(Number);
  }

  remove(): void {
    process.off('exit', this.#onExit);
    for (const { name } of [this.near, this.far]) {
      for (const pid of this.#pids(name)) end(pid);
      spawnSync('ip', ['netns', 'delete', name]);
    }
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function must(...words: string[]): string {
  const { status, stdout, stderr, error } = spawnSync('ip', words, { encoding: 'utf8' });
  if (error !== undefined || status !== 0) {
    throw new Error(`ip ${words.join(' ')}: ${error?.message ?? stderr.trim()}`);
  }
  return stdout;
}

function findReason(): string | false {
  if (process.platform !== 'linux') return 'network namespaces are there on Linux only';
  if (process.geteuid?.() !== 0) return 'network namespaces need root';
  try {
    new Namespaces().remove();
    return false;
  } catch (error) {
    const { message } = error as Error;
    if (message.includes('ENOENT')) return 'network namespaces need iproute2 (ip)';
    return `no network namespaces here: ${message}`;
  }
}
