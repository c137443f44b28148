/**
 * A served repository behind a proxy that breaks connections, and a machine that works with it.
 */
import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { NetProxy } from '../net-proxy.ts';
import { Served } from '../served.ts';
import { parseLines, type Run, type Running, Workplace } from '../system/workplace.ts';

export const MIB: number = 1 << 20;

export class RemoteFaults {
  readonly served: Served;
  readonly proxy: NetProxy;
  readonly place: Workplace;
  #files = 0;

  constructor(served: Served, proxy: NetProxy) {
    this.served = served;
    this.proxy = proxy;
    this.place = new Workplace('remote-faults');
  }

  static async start(): Promise<RemoteFaults> {
    const served = await Served.start('remote-faults', ['home']);
    const faults = new RemoteFaults(served, await NetProxy.start(served.port));
    await faults.pairDirectly();
    faults.place.repo = served.url('home');
    faults.place.must(['init', '--no-encryption']);
    return faults;
  }
  async remove(): Promise<void> {
    await this.proxy.close();
    this.place.remove();
    await this.served.remove();
  }

  /** The server is reached past the proxy. */
  async pairDirectly(): Promise<void> {
    await this.served.pair(this.place.state, 'full');
  }

  /** New content that cannot be compressed, in files of 1 MiB, in place of what was there. */
  writeNoise(count: number): void {
    const { place } = this;
    rmSync(place.source, { recursive: true });
    for (let i = 0; i < count; i++) {
      const key = createHash('sha256')
        .update(`file ${this.#files++}`)
        .digest();
      const noise = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
      place.write(`dir${i % 3}/file${i}`, noise.update(Buffer.alloc(MIB)));
    }
  }

  /** Starts a command that reaches the server through the proxy. */
  async start(args: readonly string[]): Promise<Running> {
    const { served, place, proxy } = this;
    await served.pair(place.state, 'full', '*', proxy.port);
    const environment = { PENSTOCK_REPO: served.url('home', proxy.port) };
    return place.start([...args, '--json'], { environment });
  }

  /** Starts a command; the network swallows everything once so many bytes have passed, and it has not ended. */
  async startStalled(args: readonly string[], bytes: number): Promise<Running> {
    const stalled = this.proxy.after(bytes, () => {
      this.proxy.stalls = true;
    });
    const running = await this.start(args);
    const over = running.done.then(({ stdout }) => assert.fail(`it has ended: ${stdout}`));
    await Promise.race([stalled, over]);
    over.catch(() => undefined);
    return running;
  }

  /** Asserts that what is stored is whole and the latest archive is the source. */
  async assertStored(): Promise<void> {
    const { place } = this;
    await this.pairDirectly();
    place.must(['check', '--read-data']);
    const target = join(place.directory, 'out');
    place.must(['restore', 'latest', '--target', target]);
    this.assertRestored(target);
  }
  assertRestored(target: string): void {
    const { place } = this;
    const compared = place.shell(`diff -r '${place.source}' '${target}${place.source}'`);
    assert.equal(compared.status, 0, compared.stdout);
    rmSync(target, { recursive: true });
  }
}

export function assertDone(run: Run): void {
  assert.equal(run.status, 0, run.stdout + run.stderr);
}

export function assertLost(run: Run): void {
  assert.equal(run.status, 1, run.stdout);
  const error = parseLines(run.stdout).find(({ type }) => type === 'error');
  assert.equal(error?.code, 'NET_LOST', run.stdout);
}
