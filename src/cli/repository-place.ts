/**
 * Where a repository is: a directory of this machine, or a name on another one.
 *
 * Contract: what is named is understood before anything is opened, and nothing is made by looking.
 * Code for other machines is loaded only where one is named; the thread of the network loads its own
 * meanwhile.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { OBJECT_KINDS, type ObjectStore } from '../format/object-store.ts';
import { CWD, newListing, openFiles } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import type { GlobalValues } from '../options/table.ts';
import { localAddressesOf, MONITOR_PORT, parseAddress } from './address.ts';
import type { Invocation } from './invocation.ts';

/** What of an invocation is needed here. */
export interface PlaceOptions extends Pick<Invocation, 'repoUrl' | 'stateDirectory' | 'signal'> {
  readonly options: Pick<
    GlobalValues,
    'agents' | 'localAddresses' | 'limitRateBytes' | 'reconnectMs' | 'mountWaitMs'
  >;
}

export interface RepositoryPlace {
  /** As the user names it. */
  readonly url: ByteString;
  /** Opens the storage; with `create`, makes what it needs to be opened. */
  open(create: boolean): Promise<ObjectStore>;
  /** Refuses a place that surely holds other things. REPO_EXISTS, REPO_MISSING. */
  refuseUsed(): void;
}

/** What may lie in the directory of a repository that is still being made. */
const OWN_NAMES: ReadonlySet<string> = new Set([...OBJECT_KINDS, 'writing', 'lost+found']);

/** The place that an invocation names. NOT_SUPPORTED, USAGE. */
export function repositoryPlace(invocation: PlaceOptions): RepositoryPlace {
  const url = invocation.repoUrl;
  const [, scheme, rest] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(url) ?? [];
  if (scheme === undefined) return directoryPlace(url);
  if (scheme.toLowerCase() === 'penstock') return remotePlace(invocation, url, rest ?? '');
  throw new PenstockError('NOT_SUPPORTED', `this version reaches no repositories by ${scheme}://`, {
    subject: url,
    hint: 'give the path of a directory, which may be a mount, or penstock://HOST/NAME',
  });
}

function directoryPlace(path: ByteString): RepositoryPlace {
  if (path === '') throw new PenstockError('USAGE', 'the repository has an empty name');
  return {
    url: path,
    open: async (create) => openDirectoryStore(path, create),
    refuseUsed: () => refuseUsed(path),
  };
}

/** A directory with other things in it was most likely named by mistake. */
function refuseUsed(path: ByteString): void {
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

function remotePlace(invocation: PlaceOptions, url: ByteString, rest: string): RepositoryPlace {
  const slash = rest.indexOf('/');
  const name = rest.slice(slash + 1).replace(/\/$/, '');
  if (slash < 1 || !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    throw new PenstockError('USAGE', `not a repository of another machine: ${toDisplay(url)}`, {
      hint: 'write penstock://HOST/NAME or penstock://HOST:PORT/NAME',
    });
  }
  const address = parseAddress(rest.slice(0, slash), MONITOR_PORT);
  return {
    url,
    open: () => openRemote(invocation, address, name),
    // The server does, before it makes one.
    refuseUsed: () => undefined,
  };
}

async function openRemote(
  { stateDirectory, signal, options }: PlaceOptions,
  { host, port }: { readonly host: string; readonly port: number },
  name: string,
): Promise<ObjectStore> {
  const { Peers } = await import('../channel/net/peers.ts');
  const { StateFolder } = await import('../channel/net/state-folder.ts');
  const { openIdentity } = await import('../channel/net/identity.ts');
  const { IndexCache } = await import('../channel/remote/index-cache.ts');
  const { openRemoteStore } = await import('../channel/remote/remote-store.ts');
  const state = new StateFolder(stateDirectory);
  // Before an identity is made: who is not paired has no use for one.
  const { fingerprint } = new Peers(state).server(host, port);
  const place = `${fingerprint.slice(0, 16)}-${name}`;
  return openRemoteStore({
    identity: await openIdentity(state),
    server: { host, port, fingerprint, localAddresses: localAddressesOf(options.localAddresses) },
    name,
    agents: options.agents ?? 0,
    bytesPerSecond: options.limitRateBytes ?? 0,
    reconnectMs: options.reconnectMs ?? LIMITS.netReconnectMs,
    cache: new IndexCache(`${stateDirectory}/index-cache/${place}`),
    signal,
  });
}
