/**
 * The prune protocol's view of a repository's store (protocol-store.ts): its records are ours, in our
 * envelope. Leases, condemn records and verdicts hold no names and no contents: all of them in clear.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ObjectKind } from '../format/object-store.ts';
import {
  clearOfRecord,
  decodeRecord,
  encodeRecord,
  finishRecord,
  RECORD,
} from '../format/record.ts';
import { SEGMENT_BYTES_MAX } from './index-store.ts';
import type {
  Kind,
  Listed,
  ProtocolStore,
  RecordKind,
  Records,
  ReferenceRecord,
} from './protocol-store.ts';
import type { Repository } from './repository.ts';

const KIND_NAMES: Readonly<Record<Kind, ObjectKind>> = {
  chunk: 'chunks',
  index: 'index',
  archive: 'archives',
  pending: 'pending',
  lease: 'leases',
  condemn: 'condemned',
  deleting: 'deleting',
  verdict: 'verdicts',
};

const RECORD_KINDS: Partial<Record<Kind, number>> = {
  lease: RECORD.lease,
  condemn: RECORD.condemn,
  deleting: RECORD.deleting,
  verdict: RECORD.verdict,
};

export function protocolStore(repository: Repository): ProtocolStore {
  const { store, codec } = repository;
  const crc = (view: Uint8Array, offset: number, length: number, seed?: number): number =>
    codec.crc32c(view, offset, length, seed);
  return {
    list: async (kind: Kind): Promise<readonly Listed[]> =>
      (await store.list(KIND_NAMES[kind])).map(({ name, modifiedMs }) => ({
        id: name,
        stampMs: modifiedMs,
      })),
    read: async <K extends RecordKind>(kind: K, id: string): Promise<Records[K] | null> => {
      let bytes: Buffer;
      try {
        bytes = await store.read(
          KIND_NAMES[kind],
          id,
          kind === 'index' ? SEGMENT_BYTES_MAX : LIMITS.recordBytesMax,
        );
      } catch (error) {
        if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return null;
        throw error;
      }
      if (kind === 'index') return bytes as unknown as Records[K];
      const subject = `${KIND_NAMES[kind]}/${id}`;
      decodeRecord(bytes, subject, crc, true);
      const clear = JSON.parse(clearOfRecord(bytes).toString('utf8'));
      if (kind !== 'archive' && kind !== 'pending') return clear as Records[K];
      const chunks = Buffer.from(clear.chunks, 'base64').toString('hex').match(/.{32}/g) ?? [];
      return { session: clear.session, chunks } as unknown as Records[K];
    },
    put: (kind, id, record) => {
      const name = KIND_NAMES[kind];
      if (kind === 'index') return store.put(name, id, record as Uint8Array);
      if (kind === 'archive' || kind === 'pending') {
        const { body } = record as ReferenceRecord;
        if (body === undefined)
          throw new PenstockError('INTERNAL', 'an archive record without its bytes');
        return store.put(name, id, body);
      }
      const bytes = encodeRecord(
        {
          kind: RECORD_KINDS[kind] ?? 0,
          encryption: 0,
          features: { compat: 0, readOnlyCompat: 0, incompat: 0 },
          id: Buffer.from(id, 'hex'),
          keyGeneration: 0,
        },
        Buffer.from(JSON.stringify(record)),
        Buffer.alloc(0),
      );
      finishRecord(bytes, crc);
      return store.put(name, id, bytes);
    },
    remove: async (kind, id) => {
      await store.remove(KIND_NAMES[kind], id);
    },
    publish: (id) => store.publish('pending', 'archives', id),
    touch: (id) => store.touch('leases', id),
    now: () => store.nowMs(),
  };
}

/** The store as a dry run sees it: it tells the time also where nothing can be written. */
export function readingStore(repository: Repository): ProtocolStore {
  return { ...protocolStore(repository), now: () => timeForReading(repository) };
}

/** The store's time; our own where nothing can be written, which asking the store needs. */
export async function timeForReading({ store, around }: Repository): Promise<number> {
  try {
    return await store.nowMs();
  } catch (error) {
    if (!(error instanceof PenstockError) || error.code !== 'REPO_READ_ONLY') throw error;
    return around.clock.nowMs();
  }
}
