/**
 * Opening the repository that a command line names, or making it.
 */
import { toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { openClock, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { openEmptyStore } from '../media/empty-store.ts';
import type { ObjectStore } from '../media/object-store.ts';
import { createRepository, isRepository, openRepository, type Repository } from '../mover/repository.ts';
import type { Invocation } from './invocation.ts';

/** How often a person may type a passphrase. */
const ATTEMPTS_MAX = 3;

export interface OpenOptions {
  /** Makes the repository where there is none yet. */
  readonly create?: boolean;
  /** Nothing is written: where there is no repository, an empty one in memory stands in for it. */
  readonly dryRun?: boolean;
}

/** Opens the repository of --repo. REPO_MISSING, PASSPHRASE_MISSING, PASSPHRASE_WRONG, DAMAGED. */
export async function openRepositoryOf(invocation: Invocation, options: OpenOptions = {}): Promise<Repository> {
  const { repoUrl, output, passphrases } = invocation;
  const around = { clock: openClock(), random: openRandom() };
  const store = openStoreOf(invocation, options);
  try {
    if (!(await isRepository(store))) {
      if (options.dryRun === true) return await createInMemory(invocation);
      if (options.create === true) {
        const repository = await createRepository(store, await passphrases.initial(repoUrl), around);
        output.note(`made a new encrypted repository at ${toDisplay(repoUrl)}: whoever loses its passphrase loses the data`);
        return repository;
      }
    }
    for (let attempt = 1; ; attempt++) {
      try {
        return await openRepository(store, () => passphrases.current(repoUrl), around);
      } catch (error) {
        const wrong = error instanceof PenstockError && error.code === 'PASSPHRASE_WRONG';
        if (!wrong || !passphrases.interactive || attempt === ATTEMPTS_MAX) throw error;
        output.urgent('wrong passphrase, try again');
      }
    }
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The store of --repo. With `create` its directory is made. */
export function openStoreOf(invocation: Invocation, options: OpenOptions = {}): ObjectStore {
  const { repoUrl } = invocation;
  const scheme = /^([a-z][a-z0-9+]*):\/\//.exec(repoUrl)?.[1];
  if (scheme !== undefined) {
    throw new PenstockError('NOT_SUPPORTED', `this version keeps repositories in directories only, not at ${toDisplay(repoUrl)}`, {
      hint: 'give the path of a directory',
    });
  }
  try {
    return openDirectoryStore(repoUrl, options.create === true);
  } catch (error) {
    const missing = error instanceof PenstockError && error.code === 'REPO_MISSING';
    if (missing && options.dryRun === true) return openEmptyStore(toDisplay(repoUrl), () => invocation.nowMs());
    throw error;
  }
}

async function createInMemory(invocation: Invocation): Promise<Repository> {
  const clock = openClock();
  const empty = openEmptyStore(toDisplay(invocation.repoUrl), () => clock.nowMs());
  const store: ObjectStore = { ...empty, put: async () => true };
  return createRepository(store, undefined, { clock, random: openRandom() });
}
