/**
 * What the commands that look into archives share: entries as listings need them, and pacing.
 */
import { type ByteString, fromText } from '../base/bytes.ts';
import {
  DECISION_NAMES,
  ENTRY,
  ENTRY_FLAG,
  type EntryView,
  EXTRA,
  REASON_NAMES,
} from '../format/entry.ts';
import type { Archive } from '../mover/archives.ts';
import type { ArchiveReader } from '../mover/reader.ts';
import { openArchiveReader } from '../mover/reader.ts';
import type { Repository } from '../mover/repository.ts';
import type { Invocation } from './invocation.ts';
import { openRepositoryOf } from './open.ts';
import type { EntryFacts, EntryKind } from './render.ts';

const KINDS: Readonly<Record<number, EntryKind>> = {
  [ENTRY.file]: 'file',
  [ENTRY.directory]: 'directory',
  [ENTRY.symlink]: 'symlink',
  [ENTRY.fifo]: 'fifo',
  [ENTRY.socket]: 'socket',
  [ENTRY.characterDevice]: 'character-device',
  [ENTRY.blockDevice]: 'block-device',
};

export function kindName(kind: number): EntryKind {
  return KINDS[kind] ?? 'file';
}

/** A path of a manifest as users know it and may give it again. */
export function shownPath(path: ByteString): ByteString {
  return `/${path}`;
}

/** Owners and groups of one archive, by number. */
export interface ArchiveNames {
  readonly owners: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, string>;
}

export function namesOf({ owners, groups }: Pick<Archive, 'owners' | 'groups'>): ArchiveNames {
  return { owners: new Map(owners), groups: new Map(groups) };
}

/** The entry as listings need it; nothing of the view is kept. */
export function entryFacts(entry: EntryView, path: ByteString, names: ArchiveNames): EntryFacts {
  const kind = kindName(entry.kind);
  const owner = names.owners.get(entry.uid);
  const group = names.groups.get(entry.gid);
  const target = entry.kind === ENTRY.symlink ? entry.extra(EXTRA.linkTarget) : undefined;
  const node = entry.extra(EXTRA.node);
  const isDevice = node?.length === 8 && kind.endsWith('-device');
  return {
    path: shownPath(path),
    kind,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    ...(owner ? { owner: fromText(owner) } : {}),
    ...(group ? { group: fromText(group) } : {}),
    bytes: entry.kind === ENTRY.file ? entry.size : 0,
    links: entry.links,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanos: entry.mtimeNanos,
    ...(target === undefined ? {} : { linkTarget: target.toString('latin1') }),
    ...(isDevice ? { nodeMajor: node.readUInt32LE(0), nodeMinor: node.readUInt32LE(4) } : {}),
    ...((entry.flags & ENTRY_FLAG.incomplete) !== 0 ? { isIncomplete: true } : {}),
    ...cuttingOf(entry),
  };
}

/** Opens repository and index for the time of `work`. */
export async function withReader<T>(
  invocation: Invocation,
  work: (repository: Repository, reader: ArchiveReader) => Promise<T>,
): Promise<T> {
  const repository = await openRepositoryOf(invocation);
  try {
    const reader = await openArchiveReader(repository);
    try {
      return await work(repository, reader);
    } finally {
      await reader.close();
    }
  } finally {
    await repository.close();
  }
}

const ITEMS_BETWEEN_PAUSES = 1000;

/** Call it for every item of a long listing: notices signals and waits for a slow reader. */
export class Pace {
  readonly #invocation: Pick<Invocation, 'output' | 'signal'>;
  #left = ITEMS_BETWEEN_PAUSES;

  constructor(invocation: Pick<Invocation, 'output' | 'signal'>) {
    this.#invocation = invocation;
  }

  /** Undefined nearly always, so that most items cost no turn of the event loop. */
  step(): Promise<void> | undefined {
    return --this.#left > 0 ? undefined : this.#pause();
  }

  async #pause(): Promise<void> {
    this.#left = ITEMS_BETWEEN_PAUSES;
    await this.#invocation.output.settled();
    this.#invocation.signal.throwIfAborted();
  }
}

/** How the content of a file was cut, and why (M2). */
function cuttingOf(entry: EntryView): Pick<EntryFacts, 'cut' | 'cutBecause'> {
  const cut = DECISION_NAMES[entry.decision];
  const cutBecause = REASON_NAMES[entry.reason];
  if (entry.kind !== ENTRY.file || cut === undefined || cutBecause === undefined) return {};
  return { cut, cutBecause };
}
