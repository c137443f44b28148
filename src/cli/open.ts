/**
 * Opens, or makes, the repository that a command line names.
 *
 * Contract: nothing is made in the storage before a passphrase is there, and never in a directory
 * that holds other things. Passphrases are wiped as soon as they were used. A person who mistypes is
 * asked again; a program is not. Whoever gets a Repository closes it.
 */
import { hostname } from 'node:os';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { OBJECT_KINDS } from '../format/object-store.ts';
import { CWD, keepMemorySmall, newListing, openClock, openFiles, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { openEmptyStore } from '../media/empty-store.ts';
import {
  createRepository,
  openRepository,
  type Repository,
  type Surroundings,
} from '../mover/repository.ts';
import type { Invocation } from './invocation.ts';

/** What of an invocation is needed here. */
export type RepositoryPlace = Pick<Invocation, 'repoUrl' | 'passphrases' | 'output'>;

export interface OpenOptions {
  /** Makes the repository where there is none. */
  readonly create?: boolean;
  /** Nothing is written: where there is no repository, an empty one in memory stands in for it. */
  readonly dryRun?: boolean;
}

/** What may lie in the directory of a repository that is still being made. */
const OWN_NAMES: ReadonlySet<string> = new Set([...OBJECT_KINDS, 'writing', 'lost+found']);

/**
 * Opens the repository of an invocation, asking for the passphrase where one is needed.
 *
 * @throws NOT_SUPPORTED, REPO_MISSING, REPO_FEATURE, REPO_READ_ONLY, REPO_IO, PASSPHRASE_MISSING,
 * PASSPHRASE_WRONG, DAMAGED
 */
export async function openRepositoryOf(
  place: RepositoryPlace,
  options: OpenOptions = {},
): Promise<Repository> {
  keepMemorySmall();
  const path = localPathOf(place.repoUrl);
  try {
    return await openExisting(place, path);
  } catch (error) {
    if (!(error instanceof PenstockError) || error.code !== 'REPO_MISSING') throw error;
    if (options.dryRun === true) {
      await refuseUsed(path);
      return emptyRepository(path);
    }
    if (options.create !== true) throw error;
  }
  try {
    return await makeRepositoryOf(place, true);
  } catch (error) {
    // Somebody else made it between the two.
    if (!(error instanceof PenstockError) || error.code !== 'REPO_EXISTS') throw error;
    return openExisting(place, path);
  }
}

/**
 * Makes the repository of an invocation, with a passphrase where it is to be encrypted.
 *
 * @throws NOT_SUPPORTED, REPO_EXISTS, REPO_MISSING (the directory holds other things),
 * REPO_READ_ONLY, REPO_IO, REPO_FULL, PASSPHRASE_MISSING
 */
export async function makeRepositoryOf(
  place: RepositoryPlace,
  encrypted: boolean,
): Promise<Repository> {
  keepMemorySmall();
  const path = localPathOf(place.repoUrl);
  await refuseUsed(path);
  const passphrase = encrypted ? await place.passphrases.initial(path) : undefined;
  try {
    const store = openDirectoryStore(path, true);
    try {
      const repository = await createRepository(store, passphrase, surroundings(), {
        label: '',
        madeBy: madeBy(),
      });
      place.output.note(
        `made ${encrypted ? 'an encrypted' : 'a'} repository in ${toDisplay(path)}` +
          (encrypted ? ': without its passphrase nobody can read it' : ', not encrypted'),
      );
      return repository;
    } catch (error) {
      await store.close();
      throw error;
    }
  } finally {
    passphrase?.fill(0);
  }
}

/** Who is at work, as listings of keys show it. */
export function madeBy(): string {
  const files = openFiles();
  const uid = files.effectiveUserId();
  return `${files.userName(uid) ?? uid}@${hostname()}`;
}

function surroundings(): Surroundings {
  return { clock: openClock(), random: openRandom() };
}

/** Takes everything and keeps nothing. */
async function emptyRepository(path: ByteString): Promise<Repository> {
  const around = surroundings();
  const store = openEmptyStore(toDisplay(path), () => around.clock.nowMs());
  return createRepository({ ...store, put: async () => true }, undefined, around);
}

async function openExisting(place: RepositoryPlace, path: ByteString): Promise<Repository> {
  const store = openDirectoryStore(path, false);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return await openOnce(place, path, store);
      } catch (error) {
        const mistyped = error instanceof PenstockError && error.code === 'PASSPHRASE_WRONG';
        const again = place.passphrases.interactive && attempt < LIMITS.passphraseAttemptsMax;
        if (!mistyped || !again) throw error;
        place.output.urgent('that passphrase opens no key of the repository');
      }
    }
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openOnce(
  { passphrases, output }: RepositoryPlace,
  path: ByteString,
  store: ReturnType<typeof openDirectoryStore>,
): Promise<Repository> {
  let passphrase: Buffer | undefined;
  const provide = async (): Promise<Buffer> => {
    passphrase = await passphrases.current(path);
    return passphrase;
  };
  try {
    const repository = await openRepository(store, provide, surroundings());
    if (!repository.settings.encrypted && !passphrases.interactive) {
      // Somebody who can write to the storage may have put an unencrypted one in its place.
      output.warning(
        `the repository in ${toDisplay(path)} is not encrypted: what is stored there can be read`,
        {
          hint: 'a passphrase was given, but this repository has none',
        },
      );
    }
    return repository;
  } finally {
    passphrase?.fill(0);
  }
}

/** The directory that a repository URL names. */
function localPathOf(url: ByteString): ByteString {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(url)?.[1];
  if (scheme !== undefined) {
    throw new PenstockError(
      'NOT_SUPPORTED',
      `this version reaches repositories in local directories only, not by ${scheme}://`,
      { subject: url, hint: 'give the path of a directory, which may be a mount' },
    );
  }
  if (url === '') throw new PenstockError('USAGE', 'the repository has an empty name');
  return url;
}

/** A directory with other things in it was most likely named by mistake. */
async function refuseUsed(path: ByteString): Promise<void> {
  const files = openFiles();
  const directory = files.openDirectoryFollow(CWD, path);
  // Not there, or not a directory: making it will tell.
  if (directory < 0) return;
  try {
    const listing = newListing();
    if (files.list(directory, listing) < 0) return;
    if (listing.names.includes('repository')) {
      throw new PenstockError('REPO_EXISTS', `there is a repository in ${toDisplay(path)} already`);
    }
    const foreign = listing.names.find((name) => !OWN_NAMES.has(name));
    if (foreign === undefined) return;
    throw new PenstockError(
      'REPO_MISSING',
      `${toDisplay(path)} holds other things, such as ${toDisplay(foreign)}, and no repository`,
      { subject: path, hint: 'name a new or an empty directory with --repo' },
    );
  } finally {
    files.close(directory);
  }
}
