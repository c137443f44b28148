/**
 * What paired machines may use of this one for copies: the modules of a copy, within the folders that the
 * peer was granted (`pair token --copy-path`).
 *
 * Contract: every path is resolved here and must lie in one of these folders; the modules go on from the
 * folder by handle, without following links. A listing that a peer has sent is known by an id that it
 * chose, to itself alone, and is forgotten after a while.
 */
import { type ByteString, fromText } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Peer } from '../channel/net/peers.ts';
import type { CompareOptions } from '../modules/copy-compare.ts';
import { closeListing, type KeepOptions, type Listing, openListing } from '../modules/copy-keep.ts';
import type { LookOptions } from '../modules/copy-look.ts';
import type { CopyReadOptions } from '../modules/copy-read.ts';
import { type CopyRoot, resolveCopyRoot } from '../modules/copy-root.ts';
import type { CopyTargetOptions } from '../modules/copy-target.ts';
import type { ScanOptions } from '../modules/scan.ts';
import { copyScan } from '../mover/copy-pipe.ts';
import { moduleFile } from '../mover/module-file.ts';
import { allowFarModule, type FarModule } from './pipe-modules.ts';

/** Lets paired machines copy. */
export function allowCopies(): void {
  const allow = (name: string, file: string, options: FarModule['options']): void =>
    allowFarModule(name, { url: moduleFile(file), options, keepsThread: true });
  allow('copy-scan', 'scan', scanOptions);
  allow('copy-keep', 'copy-keep', keepOptions);
  allow('copy-compare', 'copy-compare', compareOptions);
  allow('copy-read', 'copy-read', readOptions);
  allow('copy-write', 'copy-write', targetOptions);
  allow('copy-finish', 'copy-finish', targetOptions);
}

type Sent = Readonly<Record<string, unknown>>;

const PATH_LENGTH_MAX = 65_536;

function wrong(what: string): never {
  throw new PenstockError('PIPE_CONFIG', `what a copy is to do cannot be understood: ${what}`);
}
function fieldsOf(sent: unknown): Sent {
  if (typeof sent !== 'object' || sent === null) wrong('options');
  return sent as Sent;
}
function pathOf(sent: Sent): ByteString {
  const { path } = sent;
  const isPath = typeof path === 'string' && path.length <= PATH_LENGTH_MAX;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a path of bytes has any but NUL
  if (!isPath || !/^\/[\x01-\xff]*$/.test(path)) wrong('path');
  return path as ByteString;
}
function nameOf(name: unknown): ByteString | undefined {
  if (name === undefined || name === null) return undefined;
  if (typeof name !== 'string' || name === '.' || name === '..') wrong('name');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
  if (!/^[\x01-\x2e\x30-\xff]{1,255}$/.test(name)) wrong('name');
  return name;
}
function rootOf(path: ByteString, peer: Peer): CopyRoot {
  return resolveCopyRoot(path, peer.copyPaths.map(fromText));
}

/** NET_DENIED outside of the folders. */
export function lookOptions(sent: unknown, peer: Peer): LookOptions {
  const path = pathOf(fieldsOf(sent));
  let followed: CopyRoot | undefined;
  let denied: unknown;
  try {
    followed = rootOf(path, peer);
  } catch (thrown) {
    denied = thrown;
  }
  // The folder itself, whose parent is nobody's business.
  const isTop = followed !== undefined && followed.parts.length === 0;
  if (followed !== undefined && (isTop || path.endsWith('/'))) {
    return { root: followed, item: undefined, followed };
  }
  if (path.endsWith('/')) throw denied;
  const slash = path.lastIndexOf('/');
  const item = nameOf(path.slice(slash + 1));
  return { root: rootOf(path.slice(0, slash) || '/', peer), item, followed };
}

function scanOptions(sent: unknown, peer: Peer): ScanOptions {
  const fields = fieldsOf(sent);
  const root = rootOf(pathOf(fields), peer);
  return copyScan(root, nameOf(fields.item), {
    mayBeMissing: fields.mayBeMissing === true,
    compares: fields.compares !== false,
    findsParts: fields.findsParts === true,
    tellsOwners: fields.tellsOwners === true,
  });
}

function readOptions(sent: unknown, peer: Peer): CopyReadOptions {
  const fields = fieldsOf(sent);
  const root = rootOf(pathOf(fields), peer);
  return { root, rename: nameOf(fields.rename), namesOwners: fields.namesOwners !== false };
}

function targetOptions(sent: unknown, peer: Peer): CopyTargetOptions {
  const fields = fieldsOf(sent);
  const { token, owners } = fields;
  if (typeof token !== 'string' || !/^[0-9a-f]{16}$/.test(token)) wrong('token');
  const root = rootOf(pathOf(fields), peer);
  return { root, owners: owners !== false, token, syncs: fields.syncs === true };
}

function keepOptions(sent: unknown, peer: Peer): KeepOptions {
  const key = listingKey(fieldsOf(sent), peer);
  if (peer.copyPaths.length === 0) {
    throw new PenstockError('NET_DENIED', `this machine lets ${peer.name} copy nothing`, {
      hint: 'pair with a token of `penstock pair token --copy-path DIR`',
    });
  }
  if (listings.has(key)) wrong('listing');
  if (listings.size >= LIMITS.copyListingsMax) {
    throw new PenstockError('NET_BUSY', `${listings.size} copies begin here already`);
  }
  makeRoom(peer);
  const listing = openListing();
  listings.set(key, { listing, timer: closeLater(key, LIMITS.copyListingMs) });
  return { listing };
}

function compareOptions(sent: unknown, peer: Peer): CompareOptions {
  const fields = fieldsOf(sent);
  const root = rootOf(pathOf(fields), peer);
  const isListed = fields.listing !== undefined;
  const options = {
    scan:
      fields.isScanned === true
        ? undefined
        : copyScan(root, nameOf(fields.item), { compares: isListed }),
    listing: undefined,
    byNumber: fields.byNumber === true,
    comparesOwners: fields.comparesOwners !== false,
    rename: nameOf(fields.rename),
    dryRun: fields.dryRun === true,
  };
  if (!isListed) return options;
  const key = listingKey(fields, peer);
  const found = listings.get(key);
  if (found === undefined) wrong('listing');
  // The module opens it for itself when it starts.
  clearTimeout(found.timer);
  found.timer = closeLater(key, LIMITS.copyListingTakenMs);
  return { ...options, listing: found.listing };
}

interface Kept {
  readonly listing: Listing;
  timer: NodeJS.Timeout;
}
const listings = new Map<string, Kept>();

function listingKey({ listing }: Sent, peer: Peer): string {
  if (typeof listing !== 'string' || !/^[0-9a-f]{32}$/.test(listing)) wrong('listing');
  return `${peer.fingerprint} ${listing}`;
}
function closeLater(key: string, ms: number): NodeJS.Timeout {
  return setTimeout(() => forget(key), ms).unref();
}

function forget(key: string): void {
  const kept = listings.get(key);
  listings.delete(key);
  if (kept === undefined) return;
  clearTimeout(kept.timer);
  closeListing(kept.listing);
}

/** Of one machine the oldest listings give way: copies of its that ended early have left them. */
function makeRoom({ fingerprint }: Peer): void {
  const own = [...listings.keys()].filter((key) => key.startsWith(`${fingerprint} `));
  for (const key of own.slice(0, Math.max(0, own.length + 1 - LIMITS.copyListingsPeerMax)))
    forget(key);
}
