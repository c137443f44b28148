/**
 * A monitor behind proxies, which stand at its ports at another address.
 */
import type { TestContext } from 'node:test';
import { LIMITS } from '../src/base/limits.ts';
import { LinkProxy } from './link-proxy.ts';
import { startMonitor, type TestMonitor } from './monitor-fixture.ts';

/** Where the monitor is; clients look for it at 127.0.0.1. */
const BEHIND = '127.0.0.2';

export interface BehindProxies {
  readonly far: TestMonitor;
  readonly control: LinkProxy;
  /** In front of the data port. */
  readonly data: LinkProxy;
}

/** Starts one, until its ports are free also where the proxies are to stand. */
export async function startBehindProxies(t: TestContext): Promise<BehindProxies> {
  for (;;) {
    const far = await startMonitor(t, { listen: [{ host: BEHIND, port: 0 }] });
    const control = await inFront(far.monitor.port);
    const data = await inFront(far.monitor.port + LIMITS.dataPortOffset);
    if (control !== undefined && data !== undefined) {
      t.after(() => Promise.all([control.close(), data.close()]));
      return { far, control, data };
    }
    await control?.close();
    await data?.close();
  }
}

async function inFront(port: number): Promise<LinkProxy | undefined> {
  return LinkProxy.open(port, BEHIND, port).catch(() => undefined);
}
