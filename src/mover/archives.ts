/**
 * Archive records: what one backup is, and finding one by what a user types.
 *
 * In clear: id, session, chunk ids, time, pseudonym of the name, whether it is partial: what a server
 * without the key needs for retention and garbage. Sealed: all that says what was backed up.
 */
import { createHmac } from 'node:crypto';
import type { ByteString } from '../base/bytes.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';
import { readAhead } from './read-ahead.ts';
import type { Repository } from './repository.ts';

export interface ArchiveStatistics {
  readonly files: number;
  readonly entries: number;
  readonly bytes: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly problems: number;
}

export interface Archive {
  readonly id: string;
  readonly session: string;
  readonly name: string;
  readonly host: string;
  readonly user: string;
  readonly paths: readonly ByteString[];
  readonly startedMs: number;
  readonly endedMs: number;
  /** A checkpoint of a backup that was under way: a base for the next, not to be restored as a whole. */
  readonly partial: boolean;
  readonly previous: string | undefined;
  readonly root: ManifestRoot;
  readonly owners: readonly (readonly [number, string])[];
  readonly groups: readonly (readonly [number, string])[];
  readonly statistics: ArchiveStatistics;
  readonly chunks: readonly string[];
  readonly protectedUntilMs: number | undefined;
  readonly writer: string;
  /** Encoding of names, and the operating system, of the source. */
  readonly system: string;
}

interface ClearPart {
  readonly id: string;
  readonly session: string;
  readonly pseudonym: string;
  readonly timeMs: number;
  readonly partial: boolean;
  readonly protectedUntilMs?: number;
  /** Chunk ids, 16 bytes each, base64. */
  readonly chunks: string;
}

/** An archive without the list of its chunks, which is long. */
export type ArchiveHead = Omit<Archive, 'chunks'>;

type SealedRoot = {
  name: string;
  blobBytes: number;
  entries: number;
  fileBytes: number;
  path: string;
  level: number;
};
export type SealedPart = Omit<
  Archive,
  'id' | 'session' | 'chunks' | 'partial' | 'protectedUntilMs' | 'root' | 'paths' | 'previous'
> & {
  readonly root: SealedRoot;
  readonly paths: readonly string[];
  readonly previous?: string;
};

/** The sealed part, which also stands in the archive footer inside the chunks (M8). */
export function toSealedPart(archive: ArchiveHead): SealedPart {
  const { ref, level } = archive.root;
  return {
    name: archive.name,
    host: archive.host,
    user: archive.user,
    paths: archive.paths.map((path) => Buffer.from(path, 'latin1').toString('base64')),
    startedMs: archive.startedMs,
    endedMs: archive.endedMs,
    root: {
      name: ref.name.toString('hex'),
      blobBytes: ref.blobBytes,
      entries: ref.entries,
      fileBytes: ref.fileBytes,
      path: Buffer.from(ref.path, 'latin1').toString('base64'),
      level,
    },
    owners: archive.owners,
    groups: archive.groups,
    statistics: archive.statistics,
    writer: archive.writer,
    system: archive.system,
    ...(archive.previous === undefined ? {} : { previous: archive.previous }),
  };
}

/** An archive as data, as it stands in a map record. */
export interface ArchiveParts {
  readonly clear: Omit<ClearPart, 'pseudonym'>;
  readonly sealed: SealedPart;
}

export function toArchiveParts(archive: Archive): ArchiveParts {
  return {
    clear: {
      id: archive.id,
      session: archive.session,
      timeMs: archive.startedMs,
      partial: archive.partial,
      chunks: Buffer.from(archive.chunks.join(''), 'hex').toString('base64'),
      ...(archive.protectedUntilMs === undefined
        ? {}
        : { protectedUntilMs: archive.protectedUntilMs }),
    },
    sealed: toSealedPart(archive),
  };
}

export function encodeArchive(repository: Repository, archive: Archive): Buffer {
  const clear: ClearPart = {
    ...toArchiveParts(archive).clear,
    pseudonym: pseudonymOf(repository, archive.name),
  };
  return repository.sealer.encodeRecord(
    RECORD.archive,
    Buffer.from(archive.id, 'hex'),
    clear,
    toSealedPart(archive),
  );
}

export function decodeArchive(repository: Repository, bytes: Buffer, name: string): Archive {
  const subject = `archives/${name}`;
  const { clear, sealed } = repository.sealer.decodeRecord<ClearPart, SealedPart>(
    bytes,
    RECORD.archive,
    subject,
  );
  if (clear.id !== name)
    throw new PenstockError('DAMAGED', `${subject} is the record of archive ${clear.id}`, {
      subject,
    });
  return fromParts(clear, sealed);
}

/** An archive from the parts of its record. */
function fromParts(clear: ClearPart, sealed: SealedPart): Archive {
  const chunks = Buffer.from(clear.chunks, 'base64').toString('hex').match(/.{32}/g) ?? [];
  return { ...headFromParts(clear, sealed), chunks };
}

/** An archive from its parts as they stand in a map record or in an archive footer. */
export function headFromParts(
  clear: Omit<ArchiveParts['clear'], 'chunks'>,
  sealed: SealedPart,
): ArchiveHead {
  const { root } = sealed;
  const decode = (text: string): ByteString => Buffer.from(text, 'base64').toString('latin1');
  return {
    ...sealed,
    id: clear.id,
    session: clear.session,
    partial: clear.partial,
    protectedUntilMs: clear.protectedUntilMs,
    previous: sealed.previous,
    paths: sealed.paths.map(decode),
    root: {
      ref: {
        name: Buffer.from(root.name, 'hex'),
        blobBytes: root.blobBytes,
        entries: root.entries,
        fileBytes: root.fileBytes,
        path: decode(root.path),
      },
      level: root.level,
    },
  };
}

/**
 * The chunk that repeats what the archive's record says (M8), the last of its list. It holds no blobs,
 * and is needed as long as the archive is.
 */
export function sessionChunkOf(archive: Archive): string | undefined {
  return archive.chunks.at(-1);
}

/** The head of an archive, and where its list ends. */
export interface RecordedArchive extends ArchiveHead {
  /** See sessionChunkOf. */
  readonly sessionChunk: string | undefined;
}

/**
 * Reads the records of all archives, oldest first, and keeps their heads only; `onChunks` is shown each
 * list of chunks. Damaged ones are left out and named.
 */
export async function listArchiveHeads(
  repository: Repository,
  onChunks: (chunks: readonly string[]) => void = () => {},
): Promise<{ readonly archives: RecordedArchive[]; readonly damaged: readonly PenstockError[] }> {
  const archives: RecordedArchive[] = [];
  const damaged: PenstockError[] = [];
  for (const { name } of await repository.store.list('archives')) {
    try {
      archives.push(await readArchiveHead(repository, name, onChunks));
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      // Forgotten by somebody else meanwhile.
      if (error.code !== 'OBJECT_MISSING') damaged.push(error);
    }
  }
  return { archives: archives.sort(compareByTime), damaged };
}

/** Reads one record. OBJECT_MISSING, DAMAGED, REPO_FEATURE. */
export async function readArchiveHead(
  repository: Repository,
  name: string,
  onChunks: (chunks: readonly string[]) => void,
  kind: 'archives' | 'pending' = 'archives',
): Promise<RecordedArchive> {
  const bytes = await repository.store.read(kind, name, LIMITS.recordBytesMax);
  const { chunks, ...head } = decodeArchive(repository, bytes, name);
  onChunks(chunks);
  return { ...head, sessionChunk: chunks.at(-1) };
}

/** Oldest first. */
export function compareByTime(a: ArchiveHead, b: ArchiveHead): number {
  return a.startedMs - b.startedMs || (a.id < b.id ? -1 : 1);
}

/** Groups archives of one name without telling the name. */
export function pseudonymOf(repository: Repository, name: string): string {
  return createHmac('sha256', repository.keyring.pseudonymKey)
    .update(name)
    .digest('hex')
    .slice(0, 32);
}

export interface ArchiveList {
  /** Oldest first. */
  readonly archives: readonly Archive[];
  readonly damaged: readonly PenstockError[];
}

/** Reads all archive records; damaged ones are left out and named. */
export async function listArchives(repository: Repository): Promise<ArchiveList> {
  const archives: Archive[] = [];
  const damaged: PenstockError[] = [];
  const { store } = repository;
  const names = (await store.list('archives')).map(({ name }) => name);
  for (const { name, take } of readAhead(store, 'archives', names, LIMITS.recordBytesMax)) {
    try {
      archives.push(decodeArchive(repository, await take(), name));
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      // Forgotten by somebody else meanwhile.
      if (error.code !== 'OBJECT_MISSING') damaged.push(error);
    }
  }
  archives.sort(compareByTime);
  return { archives, damaged };
}

/** The archive that `text` names: an id, a unique beginning of one, or `latest`. ARCHIVE_UNKNOWN. */
export function resolveArchive(list: ArchiveList, text: string): Archive {
  const whole = list.archives.filter((archive) => !archive.partial);
  if (text === 'latest') {
    const latest = whole.at(-1);
    if (latest !== undefined) return latest;
    throw (
      list.damaged[0] ??
      new PenstockError('ARCHIVE_UNKNOWN', 'the repository has no archive yet', {
        hint: 'run `penstock backup`',
      })
    );
  }
  const found = list.archives.filter((archive) => archive.id.startsWith(text.toLowerCase()));
  const only = found[0];
  if (only !== undefined && found.length === 1 && text !== '') return only;
  if (found.length === 0) {
    const damaged = list.damaged.find((error) => error.subject?.includes(text));
    throw (
      damaged ??
      new PenstockError('ARCHIVE_UNKNOWN', `no archive has an id that begins with ${text}`)
    );
  }
  throw new PenstockError(
    'ARCHIVE_UNKNOWN',
    `${found.length} archives have an id that begins with ${text}`,
  );
}
