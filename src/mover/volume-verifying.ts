/**
 * Verifies a volume: everything on its medium, and that what the repository counts on is there.
 *
 * Contract: nothing is changed; the data's keys are not used.
 */
import { PenstockError } from '../base/errors.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { RECORD } from '../format/record.ts';
import type { FindingKind, VolumeFinding } from '../media/volume-findings.ts';
import {
  type VerifiedChunk,
  type VerifyReport,
  verifyVolume as verifyMedium,
} from '../media/volume-verify.ts';
import { givenPages } from '../media/write-log.ts';
import type { Repository } from './repository.ts';
import { type NamedVolume, withMedium } from './volume-find.ts';
import { readLogs } from './volume-logs.ts';
import { listVolumes, type VolumeChunk } from './volume-records.ts';

export interface VerifyRequest {
  readonly signal: AbortSignal;
  onProgress(objects: number, bytes: number): void;
}

/**
 * @throws PenstockError VOLUME_FOREIGN when the medium is another one, VOLUME_NOT_READY, VOLUME_IO,
 *   VOLUME_CHANGED
 */
export async function verifyVolume(
  repository: Repository,
  found: NamedVolume,
  { signal, onProgress }: VerifyRequest,
): Promise<VerifyReport> {
  const { pool, record } = found;
  const logs = await readLogs(repository, record.volume);
  return await withMedium(repository, found, 'read', async (volume, label) => {
    const report = await verifyMedium(volume, {
      volume: record.volume,
      blockBytes: pool.blockBytes,
      beside: (session) => {
        const log = logs.find((one) => one.session === session);
        return log === undefined ? undefined : givenPages(log.pages);
      },
      onProgress: async (objects, bytes) => {
        onProgress(objects, bytes);
        await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
      },
    });
    const more = [
      ...labelFindings(repository, label),
      ...(await chunkFindings(repository, found, report.chunks)),
    ];
    return {
      ...report,
      findings: [...more.filter(isOf('label')), ...report.findings, ...more.filter(isOf('chunk'))],
      findingsTotal: report.findingsTotal + more.length,
    };
  });
}

const isOf =
  (kind: FindingKind) =>
  (finding: VolumeFinding): boolean =>
    finding.kind === kind;

/** Whether the label is what this repository has written. */
function labelFindings(repository: Repository, label: Buffer): VolumeFinding[] {
  try {
    repository.sealer.decodeRecord(Buffer.from(label), RECORD.volumeLabel, 'the label');
    return [];
  } catch (error) {
    if (!(error instanceof PenstockError) || error.code !== 'DAMAGED') throw error;
    return [{ kind: 'label', object: 1, message: error.message }];
  }
}

/** Chunks that should be on the volume as a whole, and are not. */
async function chunkFindings(
  repository: Repository,
  { record }: NamedVolume,
  seen: ReadonlyMap<string, VerifiedChunk>,
): Promise<VolumeFinding[]> {
  const { volumes } = await listVolumes(repository);
  const others = volumes.filter(({ volume }) => volume !== record.volume);
  const elsewhere = new Set(others.flatMap(({ chunks }) => chunks.map(({ id }) => id)));
  const findings: VolumeFinding[] = [];
  for (const chunk of record.chunks) {
    const wrong = chunkProblem(chunk, seen.get(chunk.id), elsewhere.has(chunk.id));
    if (wrong !== undefined)
      findings.push({ kind: 'chunk', message: `chunk ${chunk.id}: ${wrong}`, chunk: chunk.id });
  }
  return findings;
}

/** @param isSplit it lies on several volumes */
function chunkProblem(
  { bytes }: VolumeChunk,
  seen: VerifiedChunk | undefined,
  isSplit: boolean,
): string | undefined {
  if (seen === undefined) return 'none of its records are here';
  if (seen.hasGaps) return 'some of its records are missing';
  if (isSplit) return undefined;
  if (seen.firstPart > 0 || !seen.isEnded) return 'some of its records are missing';
  const wanted = bytes - TRAILER_BYTES;
  return seen.bytes === wanted ? undefined : `${seen.bytes} of ${wanted} bytes are here`;
}
