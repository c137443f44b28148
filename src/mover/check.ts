/**
 * The flow of a check: records → index → chunks → archives → data.
 *
 * Every object of the repository is read and checked, every blob that an archive needs is looked for,
 * and with `readData` every stored byte is verified (U3, U6). Damage is a result, never an error: what
 * is damaged is named once, with the archives and some of the paths that it concerns. Nothing is
 * changed; damaged blocks are noted where that is possible (damage-notes.ts). What others do meanwhile (a backup, a prune) is no damage: where something is missing the
 * repository is looked at again until it stood still.
 */
import { openChunkMedia } from '../format/chunk-media.ts';
import type { Damage } from './check-damage.ts';
import { CheckRound } from './check-round.ts';
import { leaseIfWritable } from './reader.ts';
import type { Repository } from './repository.ts';

export interface CheckRequest {
  /** Reads and verifies every stored byte. */
  readonly readData: boolean;
  readonly threads: number;
  readonly memoryBytes?: number | undefined;
  readonly signal: AbortSignal;
  onProgress(progress: CheckProgress): void;
}

export interface CheckProgress {
  readonly phase: 'chunks' | 'archives' | 'data';
  readonly chunks: number;
  readonly chunksTotal: number;
  readonly entries: number;
  readonly bytesRead: number;
  readonly bytesTotal: number;
}

export interface CheckResult {
  readonly damages: readonly Damage[];
  /** What is worth knowing and no damage. */
  readonly notes: readonly string[];
  readonly archives: number;
  readonly chunks: number;
  readonly indexSegments: number;
  readonly blobs: number;
  /** Stored bytes that were read and verified. */
  readonly bytesRead: number;
  /** Ids of chunks that no archive needs and no session at work has written. */
  readonly orphans: readonly string[];
}

/** How often a repository that changes meanwhile is looked at. */
const ROUNDS_MAX = 5;

/** Checks a repository. INTERRUPTED, and errors of the machine (PIPE_FAILED …); never damage. */
export async function check(repository: Repository, request: CheckRequest): Promise<CheckResult> {
  const lease = await leaseIfWritable(repository);
  try {
    const media = await openChunkMedia(repository.store.chunkMedia);
    try {
      for (let number = 1; ; number++) {
        const before = await stateOf(repository);
        const round = new CheckRound(repository, request, media, lease !== undefined);
        try {
          await round.look();
          // Somebody who was at work explains what was missing: it is looked at once more.
          const again =
            round.damaged && number < ROUNDS_MAX && before !== (await stateOf(repository));
          if (!again) return await round.finish();
        } finally {
          round.close();
        }
      }
    } finally {
      media.close();
    }
  } finally {
    await lease?.end().catch(() => undefined);
  }
}

/** Another one when a backup, a forget or a prune has done something. */
async function stateOf(repository: Repository): Promise<string> {
  const names: string[] = [];
  for (const kind of ['archives', 'index', 'chunks', 'maps'] as const) {
    const listed = await repository.store.list(kind).catch(() => []);
    for (const { name } of listed) names.push(`${kind}/${name}`);
  }
  return names.sort().join(' ');
}
