/**
 * An rsync daemon on loopback, for what is measured beside it.
 *
 * Contract: it ends with `end`, and with this process however that ends.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endsWithUs } from './server.ts';

export interface RsyncServer {
  readonly pid: number;
  /** Of a folder that it serves. */
  url(module: string): string;
  end(): Promise<void>;
}

/** Serves folders by name, for reading and writing; undefined where there is no rsync. */
export async function startRsync(
  work: string,
  folders: Readonly<Record<string, string>>,
): Promise<RsyncServer | undefined> {
  if (spawnSync('rsync', ['--version']).status !== 0) return undefined;
  const port = await freePort();
  const settings = join(work, 'rsyncd.conf');
  const owner = process.geteuid?.() === 0 ? 'uid = root\ngid = root\n' : '';
  const modules = Object.entries(folders).map(
    ([name, path]) => `[${name}]\npath = ${path}\nread only = no\n`,
  );
  writeFileSync(
    settings,
    `port = ${port}\naddress = 127.0.0.1\nuse chroot = no\nmunge symlinks = no\n${owner}${modules.join('')}`,
  );
  const daemon = spawn('rsync', ['--daemon', '--no-detach', `--config=${settings}`], {
    stdio: 'ignore',
  });
  const end = endsWithUs(daemon);
  await reachable(port);
  const url = (module: string): string => `rsync://127.0.0.1:${port}/${module}`;
  return { pid: daemon.pid ?? 0, url, end };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function reachable(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const reached = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (reached) return;
    await sleep(20);
  }
}
