/**
 * Names and numbers of users and groups, by the C library's own look-up (files, directory
 * services).
 *
 * Contract: answers are kept for some seconds, also that there is none: threads may live long.
 */
import { ERRNO } from '../errno.ts';
import { addressOf, type CFunction, type Libc } from './libc.ts';
import { NameScratch } from './scratch.ts';

/** Room for a record's texts; groups with many members need more, up to the bound. */
const TEXT_BYTES_AT_FIRST = 4096;
const TEXT_BYTES_MAX = 16 * 1024 * 1024;
const KEPT_MS = 10_000;

export class LinuxAccounts {
  readonly users: AccountTable;
  readonly groups: AccountTable;

  constructor(libc: Libc) {
    this.users = new AccountTable(libc.getpwuid_r, libc.getpwnam_r);
    this.groups = new AccountTable(libc.getgrgid_r, libc.getgrnam_r);
  }
}

/** `struct passwd` and `struct group` begin alike: name, password, then uid or gid. */
export class AccountTable {
  readonly #byId: CFunction;
  readonly #byName: CFunction;
  readonly #names = new Map<number, string | undefined>();
  readonly #ids = new Map<string, number | undefined>();
  readonly #key = new NameScratch();
  readonly #record: DataView = new DataView(new ArrayBuffer(64));
  readonly #recordBytes: Uint8Array = new Uint8Array(this.#record.buffer);
  readonly #found: BigUint64Array = new BigUint64Array(1);
  readonly #foundBytes: Uint8Array = new Uint8Array(this.#found.buffer);
  #text: Buffer = Buffer.allocUnsafeSlow(TEXT_BYTES_AT_FIRST);
  #sinceMs: number = performance.now();

  constructor(byId: CFunction, byName: CFunction) {
    this.#byId = byId;
    this.#byName = byName;
  }

  name(id: number): string | undefined {
    this.#forget();
    if (this.#names.has(id)) return this.#names.get(id);
    const name = this.#lookUp(this.#byId, id) ? this.#foundName() : undefined;
    this.#names.set(id, name);
    return name;
  }

  id(name: string): number | undefined {
    this.#forget();
    if (this.#ids.has(name)) return this.#ids.get(name);
    const key = this.#key.put(Buffer.from(name, 'utf8').toString('latin1'));
    const id = this.#lookUp(this.#byName, key) ? this.#record.getUint32(16, true) : undefined;
    this.#ids.set(name, id);
    return id;
  }

  #forget(): void {
    const nowMs = performance.now();
    if (nowMs - this.#sinceMs < KEPT_MS) return;
    this.#sinceMs = nowMs;
    this.#names.clear();
    this.#ids.clear();
  }

  #lookUp(call: CFunction, key: number | Buffer): boolean {
    for (;;) {
      const text = this.#text;
      const errno = call(key, this.#recordBytes, text, text.length, this.#foundBytes);
      if (errno === 0) return this.#found[0] !== 0n;
      if (errno === ERRNO.EINTR) continue;
      if (errno !== ERRNO.ERANGE || text.length >= TEXT_BYTES_MAX) return false;
      this.#text = Buffer.allocUnsafeSlow(text.length * 2);
    }
  }

  /** The record's first pointer leads into the text. */
  #foundName(): string | undefined {
    const start = Number(this.#record.getBigUint64(0, true)) - addressOf(this.#text);
    const end = this.#text.indexOf(0, start);
    return start < 0 || end < 0 ? undefined : this.#text.toString('utf8', start, end);
  }
}
