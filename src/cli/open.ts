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
import type { ObjectStore } from '../format/object-store.ts';
import { keepMemorySmall, openClock, openFiles, openRandom } from '../host/mod.ts';
import { openEmptyStore } from '../media/empty-store.ts';
import type { MountRequest } from '../media/mount-requests.ts';
import { withPools } from '../mover/pools.ts';
import {
  createRepository,
  openRepository,
  type Repository,
  type Surroundings,
} from '../mover/repository.ts';
import type { ChapSource } from '../scsi/iscsi-chap.ts';
import { takeChapSecrets } from './chap-secrets.ts';
import type { Invocation } from './invocation.ts';
import { showMount } from './render-media.ts';
import { type PlaceOptions, type RepositoryPlace, repositoryPlace } from './repository-place.ts';

/** What of an invocation is needed here. */
export type RepositoryInvocation = PlaceOptions & Pick<Invocation, 'passphrases' | 'output'>;

export interface OpenOptions {
  /** Makes the repository where there is none. */
  readonly create?: boolean;
  /** Nothing is written: where there is no repository, an empty one in memory stands in for it. */
  readonly dryRun?: boolean;
  /** Name of the pool to which new chunks go, if it is not the root pool. */
  readonly pool?: string | undefined;
  /** Called when another thread derives the key, for each attempt: what can be got ready meanwhile. */
  readonly whileDeriving?: WhileDeriving;
}

/** `isEmpty`: whether the repository has no archive yet; false too if its key comes before the answer. */
export type WhileDeriving = (about: { isEmpty(): Promise<boolean> }) => void;

/**
 * Opens the repository of an invocation, asking for the passphrase where one is needed.
 *
 * @throws NOT_SUPPORTED, REPO_MISSING, REPO_FEATURE, REPO_READ_ONLY, REPO_IO, PASSPHRASE_MISSING,
 * PASSPHRASE_WRONG, DAMAGED
 */
export async function openRepositoryOf(
  invocation: RepositoryInvocation,
  options: OpenOptions = {},
): Promise<Repository> {
  keepMemorySmall();
  const place = repositoryPlace(invocation);
  try {
    const opened = await openExisting(invocation, place, options.whileDeriving);
    return await withPools(opened, options.pool);
  } catch (error) {
    if (!(error instanceof PenstockError) || error.code !== 'REPO_MISSING') throw error;
    if (options.dryRun === true) {
      place.refuseUsed();
      return emptyRepository(invocation, place.url);
    }
    if (options.create !== true) throw error;
  }
  try {
    return await makeRepositoryOf(invocation, true, options.whileDeriving);
  } catch (error) {
    // Somebody else made it between the two.
    if (!(error instanceof PenstockError) || error.code !== 'REPO_EXISTS') throw error;
    return openExisting(invocation, place);
  }
}

/**
 * Makes the repository of an invocation, with a passphrase where it is to be encrypted.
 *
 * @throws NOT_SUPPORTED, REPO_EXISTS, REPO_MISSING (the directory holds other things),
 * REPO_READ_ONLY, REPO_IO, REPO_FULL, PASSPHRASE_MISSING
 */
export async function makeRepositoryOf(
  invocation: RepositoryInvocation,
  encrypted: boolean,
  whileDeriving?: WhileDeriving,
): Promise<Repository> {
  keepMemorySmall();
  const place = repositoryPlace(invocation);
  place.refuseUsed();
  const passphrase = encrypted ? await invocation.passphrases.initial(place.url) : undefined;
  try {
    const store = await place.open(true);
    try {
      const around = surroundings(invocation, () => whileDeriving?.({ isEmpty: async () => true }));
      const note = { label: '', madeBy: madeBy() };
      const repository = await createRepository(store, passphrase, around, note);
      invocation.output.note(
        `made ${encrypted ? 'an encrypted' : 'a'} repository in ${toDisplay(place.url)}` +
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

/** Taken out of the environment once. */
let chap: ChapSource | undefined;

/** The secrets for drives and libraries. */
export function chapSecrets(): ChapSource {
  chap ??= takeChapSecrets();
  return chap;
}

function surroundings(
  { options, signal, output }: RepositoryInvocation,
  whileDeriving?: () => void,
): Surroundings {
  const waitMs =
    options.mountWaitMs ?? (output.style === 'terminal' ? Number.POSITIVE_INFINITY : 0);
  const tell = (request: MountRequest): void => showMount(output, request);
  const mounts = { waitMs, signal, tell };
  const onPassedOver = ({ code, message, hint }: PenstockError): void =>
    output.warning(`${message}: another one is taken`, { code, hint });
  const around = { clock: openClock(), random: openRandom(), chap: chapSecrets(), mounts };
  return { ...around, onPassedOver, ...(whileDeriving === undefined ? {} : { whileDeriving }) };
}

/** Takes everything and keeps nothing. */
async function emptyRepository(
  invocation: RepositoryInvocation,
  path: ByteString,
): Promise<Repository> {
  const around = surroundings(invocation);
  const store = openEmptyStore(toDisplay(path), () => around.clock.nowMs());
  return createRepository({ ...store, put: async () => true }, undefined, around);
}

async function openExisting(
  invocation: RepositoryInvocation,
  place: RepositoryPlace,
  whileDeriving?: WhileDeriving,
): Promise<Repository> {
  const store = await place.open(false);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return await openOnce(invocation, place, store, whileDeriving);
      } catch (error) {
        const mistyped = error instanceof PenstockError && error.code === 'PASSPHRASE_WRONG';
        const again = invocation.passphrases.interactive && attempt < LIMITS.passphraseAttemptsMax;
        if (!mistyped || !again) throw error;
        invocation.output.urgent('that passphrase opens no key of the repository');
      }
    }
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openOnce(
  invocation: RepositoryInvocation,
  { url }: RepositoryPlace,
  store: ObjectStore,
  whileDeriving: WhileDeriving | undefined,
): Promise<Repository> {
  const { passphrases, output } = invocation;
  let passphrase: Buffer | undefined;
  const provide = async (): Promise<Buffer> => {
    passphrase = await passphrases.current(url);
    return passphrase;
  };
  try {
    let derived = false;
    const isEmpty = async (): Promise<boolean> =>
      (await store.list('archives')).length === 0 && !derived;
    const around = surroundings(invocation, () => whileDeriving?.({ isEmpty }));
    const repository = await openRepository(store, provide, around);
    derived = true;
    if (!repository.settings.encrypted && !passphrases.interactive) {
      // Somebody who can write to the storage may have put an unencrypted one in its place.
      output.warning(
        `the repository in ${toDisplay(url)} is not encrypted: what is stored there can be read`,
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
