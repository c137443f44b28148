/**
 * Debian's iSCSI target `tgt` for tests: tapes and a library in user space, on loopback.
 *
 * Contract: each server is a process of its own with its own port, control socket and folder, and is ended
 * and removed by `stop`. Where the package is missing `tgtMissing` says so, and tests are skipped with that.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const TARGET = 'iqn.2026-01.net.penstock.test';
const START_ATTEMPTS = 5;
const START_POLLS = 200;
const POLL_MS = 50;

/** Why tests with tgt are skipped; undefined where they can run. */
export function tgtMissing(): string | undefined {
  for (const program of ['tgtd', 'tgtadm', 'tgtimg']) {
    const { error } = spawnSync(program, ['--help'], { stdio: 'ignore' });
    if (error !== undefined) return `${program} is not installed (Debian's package tgt)`;
  }
  if (process.getuid?.() !== 0) return 'tgtd wants to be run by root';
  return undefined;
}

export interface Account {
  readonly user: string;
  readonly secret: string;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

export class TgtServer {
  readonly folder: string;
  #port = 0;
  #child: ChildProcess | undefined;
  #targets = 0;

  private constructor(parent: string) {
    this.folder = mkdtempSync(join(parent, 'penstock-tgt-'));
  }

  /** @param parent of the folder in which it keeps all */
  static async start(parent: string = tmpdir()): Promise<TgtServer> {
    const server = new TgtServer(parent);
    try {
      for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
        if (await server.#launch(await freePort())) return server;
      }
      throw new Error(`tgtd does not start: ${server.log()}`);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What tgtd has said. */
  log(): string {
    const path = join(this.folder, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  get #environment(): NodeJS.ProcessEnv {
    return { ...process.env, TGT_IPC_SOCKET: join(this.folder, 'control') };
  }

  async #launch(port: number): Promise<boolean> {
    // By a shell that becomes tgtd, so that what it says goes to a file and is never waited for.
    const run = 'exec tgtd -f -C 0 --iscsi "portal=127.0.0.1:$1" >"$2" 2>&1';
    const child = spawn('sh', ['-c', run, 'tgtd', String(port), join(this.folder, 'log')], {
      env: this.#environment,
      stdio: 'ignore',
    });
    this.#child = child;
    this.#port = port;
    for (let poll = 0; poll < START_POLLS && child.exitCode === null; poll++) {
      const isUp = await this.admin('target', 'show').then(
        () => true,
        () => false,
      );
      if (isUp && child.exitCode === null) return true;
      await pause(POLL_MS);
    }
    return false;
  }

  async admin(mode: string, op: string, ...more: string[]): Promise<string> {
    const words = ['-C', '0', '--lld', 'iscsi', '--mode', mode, '--op', op, ...more];
    const options = { env: this.#environment, timeout: 20_000 };
    const { stdout } = await promisify(execFile)('tgtadm', words, options);
    return stdout;
  }

  /** A target without devices; its number. */
  async addTarget(): Promise<number> {
    this.#targets += 1;
    const tid = String(this.#targets);
    await this.admin('target', 'new', '--tid', tid, '--targetname', this.targetName(this.#targets));
    await this.admin('target', 'bind', '--tid', tid, '--initiator-address', 'ALL');
    return this.#targets;
  }

  targetName(tid: number): string {
    return `${TARGET}:${tid}`;
  }

  url(tid: number, lun: number, user?: string): string {
    const who = user === undefined ? '' : `${user}@`;
    return `iscsi://${who}127.0.0.1:${this.#port}/${this.targetName(tid)}/${lun}`;
  }

  /** A parameter of the sessions of a target. */
  async set(tid: number, name: string, value: string | number): Promise<void> {
    await this.admin(
      'target',
      'update',
      '--tid',
      String(tid),
      '--name',
      name,
      '--value',
      `${value}`,
    );
  }

  /** An account that initiators need, or with which the target itself answers (outgoing). */
  async addAccount(tid: number, { user, secret }: Account, outgoing = false): Promise<void> {
    await this.admin('account', 'new', '--user', user, '--password', secret);
    const words = ['--tid', String(tid), '--user', user, ...(outgoing ? ['--outgoing'] : [])];
    await this.admin('account', 'bind', ...words);
  }

  /** The file of a tape of so many megabytes; in the library's home it is named by its label. */
  async makeTape(name: string, megabytes: number): Promise<string> {
    const home = this.mediaHome();
    const path = join(home, name);
    const words = ['--op', 'new', '--device-type', 'tape', `--barcode=${name}`];
    const more = [`--size=${megabytes}`, '--type=data', `--file=${path}`];
    await promisify(execFile)('tgtimg', [...words, ...more]);
    return path;
  }

  mediaHome(): string {
    const home = join(this.folder, 'media');
    mkdirSync(home, { recursive: true });
    return home;
  }

  /** A drive with a tape in it. */
  async addDrive(tid: number, lun: number, tape: string): Promise<void> {
    const words = ['--tid', String(tid), '--lun', String(lun), '--backing-store', tape];
    await this.admin('logicalunit', 'new', ...words, '--device-type=tape', '--bstype', 'ssc');
  }

  /** Puts another tape into a drive that is in no library; it must have been unloaded, or never locked. */
  async changeTape(tid: number, lun: number, tape: string): Promise<void> {
    await this.updateUnit(tid, lun, 'removable=1,online=0');
    await this.updateUnit(tid, lun, `path=${tape}`);
    await this.updateUnit(tid, lun, 'online=1');
  }

  /** A drive without a tape, for a library. */
  async addEmptyDrive(tid: number, lun: number): Promise<void> {
    const tape = await this.makeTape(`none-${tid}-${lun}`, 1);
    await this.addDrive(tid, lun, tape);
    await this.updateUnit(tid, lun, 'removable=1,online=0');
  }

  /** Kills it and starts it again on the same port; `again` makes what it had. */
  async restart(again: () => Promise<void>): Promise<void> {
    await this.#kill();
    this.#targets = 0;
    for (let attempt = 0; ; attempt++) {
      if (await this.#launch(this.#port)) break;
      if (attempt === START_ATTEMPTS) throw new Error(`tgtd does not start: ${this.log()}`);
    }
    await again();
  }

  /** A disk of zeros, to compare with. */
  async addDisk(tid: number, lun: number, path: string): Promise<void> {
    const words = ['--tid', String(tid), '--lun', String(lun), '--backing-store', path];
    await this.admin('logicalunit', 'new', ...words);
  }

  async updateUnit(tid: number, lun: number, parameters: string): Promise<void> {
    const words = ['--tid', String(tid), '--lun', String(lun), '--params', parameters];
    await this.admin('logicalunit', 'update', ...words);
  }

  /**
   * A library: an arm, slots with tapes by their labels (empty: no tape), and drives by their units.
   * Addresses: arm 1, slots from 1024, drives from 256.
   */
  async addChanger(
    tid: number,
    lun: number,
    slots: readonly string[],
    drives: readonly number[],
  ): Promise<void> {
    const empty = join(this.folder, `changer-${tid}-${lun}`);
    await promisify(execFile)('truncate', ['-s', '1M', empty]);
    const words = ['--tid', String(tid), '--lun', String(lun), '--backing-store', empty];
    await this.admin('logicalunit', 'new', ...words, '--device-type=changer', '--bstype', 'smc');
    const update = (parameters: string): Promise<void> => this.updateUnit(tid, lun, parameters);
    await update(`media_home=${this.mediaHome()}`);
    await update('element_type=1,start_address=1,quantity=1');
    await update(`element_type=2,start_address=1024,quantity=${slots.length}`);
    await update(`element_type=4,start_address=256,quantity=${drives.length}`);
    for (const [index, unit] of drives.entries()) {
      await update(`element_type=4,address=${256 + index},tid=${tid},lun=${unit}`);
    }
    for (const [index, label] of slots.entries()) {
      if (label === '') continue;
      await this.putIntoSlot(tid, lun, index, label);
    }
  }

  /** Puts a tape into an empty slot of a library. */
  async putIntoSlot(tid: number, lun: number, slot: number, label: string): Promise<void> {
    const place = `element_type=2,address=${1024 + slot}`;
    await this.updateUnit(tid, lun, `${place},barcode=${label},sides=1`);
  }

  async stop(): Promise<void> {
    await this.#kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #kill(): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      // It would wait for sessions to end.
      child.kill('SIGKILL');
      await ended;
    }
  }
}
