/**
 * Quotas: how large a machine may let a repository grow (`penstock pair token --quota`).
 *
 * Contract: what a repository holds is measured, with what is still being written to it, whoever wrote it;
 * from then on what arrives is added. Before anything is received there must be room for all of it. Where there
 * seems to be none it is measured again, since prunes give space back, but not more often than a limit says. A
 * lease may go a little beyond: a machine that has used its quota up still restores.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { formatBytes } from '../base/units.ts';
import type { Peer } from '../channel/net/peers.ts';

interface Account {
  /** What was measured, and what has come since. */
  bytes: number;
  atMs: number;
  /** Of that, what is still arriving. */
  arriving: number;
}

export class Quotas {
  readonly #accounts = new Map<string, Account>();
  readonly #measuring = new Map<string, Promise<Account>>();
  readonly #monotonicMs: () => number;
  readonly #measure: (repository: string) => Promise<number>;

  /** `measure` tells how many bytes lie in a repository. */
  constructor(monotonicMs: () => number, measure: (repository: string) => Promise<number>) {
    this.#monotonicMs = monotonicMs;
    this.#measure = measure;
  }

  /** Takes so many bytes into account; to be called back when they have arrived, or do not. REPO_FULL. */
  async admit(
    { quotaBytes, name }: Peer,
    repository: string,
    bytes: number,
    isLease: boolean,
  ): Promise<() => void> {
    const known = this.#accounts.get(repository);
    if (quotaBytes === undefined) {
      // Of a repository that was never measured nothing has to be counted.
      return known === undefined ? () => {} : take(known, bytes);
    }
    const most = quotaBytes + (isLease ? LIMITS.quotaLeaseBytes : 0);
    const account =
      known !== undefined && known.bytes + bytes <= most ? known : await this.#look(repository);
    if (account.bytes + bytes > most) {
      const held = `repository ${repository} holds ${formatBytes(account.bytes)}`;
      const quota = `${name} may fill it to ${formatBytes(quotaBytes)}`;
      throw new PenstockError('REPO_FULL', `${held}, and ${quota}`, {
        hint: 'prune it where that is allowed, or pair again with a token of a larger `--quota`',
      });
    }
    return take(account, bytes);
  }

  /** Measures, once for all who wait for it. */
  #look(repository: string): Promise<Account> {
    const running = this.#measuring.get(repository);
    if (running !== undefined) return running;
    const looking = this.#lookNow(repository).finally(() => this.#measuring.delete(repository));
    this.#measuring.set(repository, looking);
    return looking;
  }

  async #lookNow(repository: string): Promise<Account> {
    const nowMs = this.#monotonicMs();
    const known = this.#accounts.get(repository);
    if (known !== undefined && nowMs - known.atMs < LIMITS.quotaMeasureMs) return known;
    const bytes = await this.#measure(repository);
    const account = this.#accounts.get(repository) ?? { bytes: 0, atMs: 0, arriving: 0 };
    // What is arriving may have been measured in part: rather too much than too little.
    account.bytes = bytes + account.arriving;
    account.atMs = nowMs;
    this.#accounts.set(repository, account);
    return account;
  }
}

function take(account: Account, bytes: number): () => void {
  account.bytes += bytes;
  account.arriving += bytes;
  return () => {
    account.arriving -= bytes;
  };
}
