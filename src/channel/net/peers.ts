/**
 * The machines that this one was paired with, and what each may do.
 *
 * Contract: one file a peer in the state folder, `peers/KIND-FINGERPRINT.json`, so that several
 * processes add and remove them without a lock, and nothing is remembered here: `find` reads the
 * file, so a removed peer is unknown from the next call on. A file that cannot be understood is
 * nobody: it grants nothing.
 */
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import type { StateFolder } from './state-folder.ts';

export const ACCESS_LEVELS = ['read', 'append', 'full'] as const;
/** Each includes those before it. */
export type AccessLevel = (typeof ACCESS_LEVELS)[number];

export interface Access {
  /** A name that `serve --repo` gave, or `*` for all. */
  readonly repository: string;
  readonly level: AccessLevel;
}

/** Which side of the connection the peer is. */
export type PeerKind = 'server' | 'client';

export interface Peer {
  /** Of no meaning but for people; unique among the peers of a kind. */
  readonly name: string;
  readonly fingerprint: string;
  readonly kind: PeerKind;
  /** `host:port`, of servers. */
  readonly address?: string;
  readonly pairedMs: number;
  readonly access: readonly Access[];
  /** How large it may let each repository grow; without it there is no limit. */
  readonly quotaBytes?: number;
  /** Absolute folders that `copy` may touch. */
  readonly copyPaths: readonly string[];
  /** Commands of `serve --module`, and `unbound`, that its pipes may use here. */
  readonly modules?: readonly string[];
  /** Addresses, as of servers, to which its pipes may go on from here. */
  readonly onward?: readonly string[];
}

const FOLDER = 'peers';
const VERSION = 1;
const FINGERPRINT = /^[0-9a-f]{64}$/;
/** No control characters: it is shown in lists and logs. */
const NAME = /^[^\p{C}\p{Z}][^\p{C}]*$/u;
const REPOSITORY = /^(?:\*|[A-Za-z0-9][A-Za-z0-9._-]*)$/;

export class Peers {
  readonly #state: StateFolder;

  constructor(state: StateFolder) {
    this.#state = state;
  }

  /** All peers, by kind and name. HOST_IO. */
  list(): Peer[] {
    const peers: Peer[] = [];
    for (const file of this.#state.list(FOLDER)) {
      const [, kind, fingerprint] = /^(server|client)-([0-9a-f]{64})\.json$/.exec(file) ?? [];
      if (kind === undefined || fingerprint === undefined) continue;
      const peer = this.find(fingerprint, kind as PeerKind);
      if (peer !== undefined) peers.push(peer);
    }
    return peers.sort((a, b) => (`${a.kind} ${a.name}` < `${b.kind} ${b.name}` ? -1 : 1));
  }

  /** The peer with this certificate, as it is stored now. HOST_IO. */
  find(fingerprint: string, kind: PeerKind): Peer | undefined {
    if (!FINGERPRINT.test(fingerprint)) return undefined;
    const bytes = this.#state.read(fileOf(fingerprint, kind));
    if (bytes === undefined) return undefined;
    const peer = parsePeer(bytes);
    return peer?.fingerprint === fingerprint && peer.kind === kind ? peer : undefined;
  }

  /** The server that was paired under this address. NET_UNTRUSTED, HOST_IO. */
  server(host: string, port: number): Peer {
    const address = formatAddress(host, port);
    const found = this.list().find((peer) => peer.kind === 'server' && peer.address === address);
    if (found !== undefined) return found;
    throw new PenstockError('NET_UNTRUSTED', `this machine is not paired with ${address}`, {
      subject: address,
      hint: `run \`penstock pair token\` there and \`penstock pair ${address} --token T\` here`,
    });
  }

  /**
   * Stores a peer, in place of what was stored of it, and of another server at its address, which
   * was there before. Its name may get a number. HOST_IO, LIMIT.
   */
  put(peer: Peer): Peer {
    const all = this.list().filter(
      ({ kind, fingerprint }) => kind === peer.kind && fingerprint !== peer.fingerprint,
    );
    const isFormer = ({ kind, address }: Peer): boolean =>
      kind === 'server' && address === peer.address;
    const others = all.filter((other) => !isFormer(other));
    if (others.length >= LIMITS.peersMax) {
      throw new PenstockError('LIMIT', `there are ${others.length} paired machines already`, {
        hint: 'remove some with `penstock pair remove`',
      });
    }
    const stored = { ...peer, name: freeName(peer.name, others) };
    const text = `${JSON.stringify({ version: VERSION, ...stored }, undefined, 2)}\n`;
    this.#state.replace(fileOf(peer.fingerprint, peer.kind), Buffer.from(text));
    for (const former of all.filter(isFormer)) this.remove(former.fingerprint, former.kind);
    return stored;
  }

  /** Removes a peer; false when it was not there. HOST_IO. */
  remove(fingerprint: string, kind: PeerKind): boolean {
    return FINGERPRINT.test(fingerprint) && this.#state.remove(fileOf(fingerprint, kind));
  }
}

/** Whether what a peer was granted includes `level` on a repository. */
export function mayAccess(peer: Peer, repository: string, level: AccessLevel): boolean {
  const needed = ACCESS_LEVELS.indexOf(level);
  return peer.access.some(
    (access) =>
      (access.repository === '*' || access.repository === repository) &&
      ACCESS_LEVELS.indexOf(access.level) >= needed,
  );
}

/** Whether a text can be the name of a repository that is served. */
export function isRepositoryName(text: string): boolean {
  return REPOSITORY.test(text) && text !== '*' && text.length <= LIMITS.peerNameLengthMax;
}

export function isPeerName(text: string): boolean {
  return NAME.test(text) && text.length <= LIMITS.peerNameLengthMax;
}

/** `host:port`, an IPv6 address in brackets. */
export function formatAddress(host: string, port: number): string {
  const lower = host.toLowerCase();
  return lower.includes(':') ? `[${lower}]:${port}` : `${lower}:${port}`;
}

function fileOf(fingerprint: string, kind: PeerKind): string {
  return `${FOLDER}/${kind}-${fingerprint}.json`;
}

function freeName(wanted: string, others: readonly Peer[]): string {
  const taken = new Set(others.map(({ name }) => name));
  let name = wanted;
  for (let number = 2; taken.has(name); number++) name = `${wanted}-${number}`;
  return name;
}

/** What stands in a peer's file, or undefined where that is not what `put` writes. */
function parsePeer(bytes: Buffer): Peer | undefined {
  let value: Partial<Peer> & { version?: unknown };
  try {
    value = JSON.parse(bytes.toString('utf8')) as typeof value;
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== 'object' || value.version !== VERSION) return undefined;
  const { name, fingerprint, kind, address, pairedMs, access, copyPaths } = value;
  const { modules = [], onward = [], quotaBytes } = value;
  if (typeof name !== 'string' || typeof fingerprint !== 'string') return undefined;
  if (kind !== 'server' && kind !== 'client') return undefined;
  if (!Number.isFinite(pairedMs) || !Array.isArray(access) || !access.every(isAccess)) {
    return undefined;
  }
  if (!isTexts(copyPaths)) return undefined;
  if (!isTexts(modules) || !isTexts(onward) || !isQuota(quotaBytes)) return undefined;
  const common = {
    name,
    fingerprint,
    kind,
    pairedMs: pairedMs as number,
    access,
    ...(quotaBytes === undefined ? {} : { quotaBytes }),
    copyPaths,
    ...(modules.length === 0 ? {} : { modules }),
    ...(onward.length === 0 ? {} : { onward }),
  };
  return typeof address === 'string' ? { ...common, address } : common;
}

export function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}

/** Whether a value is the quota of a token or a peer; it may have none. */
export function isQuota(value: unknown): value is number | undefined {
  return value === undefined || (Number.isSafeInteger(value) && (value as number) > 0);
}

/** Whether a value is one grant, as the pairing token and the peer's file hold it. */
export function isAccess(value: unknown): value is Access {
  if (value === null || typeof value !== 'object') return false;
  const { repository, level } = value as Partial<Access>;
  return (
    typeof repository === 'string' &&
    REPOSITORY.test(repository) &&
    ACCESS_LEVELS.some((known) => known === level)
  );
}
