/**
 * A gate that holds a command at a call of the system (PENSTOCK_FAULT, `hold`): what a test wants to meet
 * in the middle waits there, however slow or fast the machine is.
 *
 * Contract: each thread that comes to the gate stays until the gate is opened, or its process is killed.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 5;
let count = 0;

export class Gate {
  readonly #path: string;
  readonly #calls: string;
  /** While open, somebody waits at the gate, and goes on when it is closed. */
  #writer: number | undefined;
  #opened = 0;

  /** @param calls which calls are held: the beginning of a rule (src/host/fake/fault-script.ts) */
  constructor(folder: string, calls: string) {
    this.#path = join(folder, `gate-${count++}`);
    this.#calls = calls;
    execFileSync('mkfifo', [this.#path]);
  }

  /** What a command that is to be held has in its environment. */
  get env(): Record<string, string> {
    return { PENSTOCK_TEST: '1', PENSTOCK_FAULT: `${this.#calls}:hold=${this.#path}` };
  }

  /** Resolves once somebody waits at the gate; fails if the command has ended before. */
  async reached(ended: Promise<{ readonly stdout: string }>): Promise<void> {
    let over: string | undefined;
    void ended.then(({ stdout }) => {
      over = stdout;
    });
    while (!this.#look()) {
      assert.equal(over, undefined, 'the command comes to the gate before it ends');
      await sleep(POLL_MS);
    }
  }

  /** How often it let somebody through. */
  get opened(): number {
    return this.#opened;
  }

  /** Lets those go on that wait. */
  open(): void {
    if (this.#writer === undefined) return;
    closeSync(this.#writer);
    this.#writer = undefined;
    this.#opened++;
  }

  /** Lets through whoever comes, one after the other, until it holds. */
  async openUntil(holds: () => boolean, pauseMs = POLL_MS): Promise<void> {
    while (!holds()) {
      if (this.#look()) this.open();
      await sleep(pauseMs);
    }
    this.open();
  }

  #look(): boolean {
    try {
      this.#writer ??= openSync(this.#path, constants.O_WRONLY | constants.O_NONBLOCK);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENXIO') return false;
      throw error;
    }
  }
}
