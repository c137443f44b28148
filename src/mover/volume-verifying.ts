/**
 * Verifies a volume: everything on its medium, and that what the repository counts on is there.
 *
 * Contract: nothing on the medium is changed; the data's keys are not used. Blocks that cannot be read are
 * noted as a check notes them (damage-notes.ts), so that the next backup stores anew what it finds of them.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { RECORD } from '../format/record.ts';
import type { FindingKind, VolumeFinding } from '../media/volume-findings.ts';
import { partOfBlock } from '../media/volume-scan.ts';
import {
  type VerifiedChunk,
  type VerifyReport,
  verifyVolume as verifyMedium,
} from '../media/volume-verify.ts';
import { givenPages } from '../media/write-log.ts';
import { type BlockAt, noteDamage } from './damage-notes.ts';
import { loadIndex } from './index-store.ts';
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
): Promise<VolumeReport> {
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
    const elsewhere = await chunksElsewhere(repository, record.volume);
    const note = await noteBlocks(repository, found, report, elsewhere);
    const more = [
      ...labelFindings(repository, label),
      ...chunkFindings(found, report.chunks, elsewhere),
    ];
    return {
      ...report,
      findings: [...more.filter(isOf('label')), ...report.findings, ...more.filter(isOf('chunk'))],
      findingsTotal: report.findingsTotal + more.length,
      note,
    };
  });
}

export interface VolumeReport extends VerifyReport {
  /** What there is to say of the noting of damaged blocks. */
  readonly note: string | undefined;
}

/** Notes the blocks that are damaged or missing; returns why not, where that fails. */
async function noteBlocks(
  repository: Repository,
  { record }: NamedVolume,
  { badParts, chunks }: VerifyReport,
  elsewhere: ReadonlySet<string>,
): Promise<string | undefined> {
  const counted = new Set(record.chunks.map(({ id }) => id));
  const isBad = (id: string, part: number): boolean => {
    if (badParts.get(id)?.has(part) === true) return true;
    const seen = chunks.get(id);
    // What is not here may be on another volume.
    if (elsewhere.has(id)) return false;
    return seen === undefined || part < seen.firstPart || part >= seen.endPart;
  };
  try {
    const index = await loadIndex(repository, (id) => counted.has(id));
    const found: BlockAt[] = [];
    try {
      for (const { id, blocks } of index.chunks) {
        const chunk = id.toString('hex');
        for (const [block, { offset }] of blocks.entries())
          if (isBad(chunk, partOfBlock(block))) found.push({ chunk, offset });
      }
    } finally {
      index.close();
    }
    await noteDamage(repository, found);
    return undefined;
  } catch (error) {
    if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
    return `damaged blocks could not be noted for the next backup: ${error.message}`;
  }
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

/** Chunks of which something lies on other volumes. */
async function chunksElsewhere(
  repository: Repository,
  verified: string,
): Promise<ReadonlySet<string>> {
  const { volumes } = await listVolumes(repository);
  const others = volumes.filter(({ volume }) => volume !== verified);
  return new Set(others.flatMap(({ chunks }) => chunks.map(({ id }) => id)));
}

/** Chunks that should be on the volume as a whole, and are not. */
function chunkFindings(
  { record }: NamedVolume,
  seen: ReadonlyMap<string, VerifiedChunk>,
  elsewhere: ReadonlySet<string>,
): VolumeFinding[] {
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
