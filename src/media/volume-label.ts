/**
 * What medium is in the drive, and labelling it (format/volume-label.ts).
 *
 * Contract: what is blank, foreign and ours is told apart before anything is written. Nothing that is
 * not blank is overwritten unless the caller forces it, or says of a volume of ours that it may go. A label is read again after it was written.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import {
  decodeLabel,
  decodeVol1,
  encodeVol1,
  isOurVol1,
  VOL1_BYTES,
  type Vol1,
  type VolumeLabel,
} from '../format/volume-label.ts';
import { plainRecord } from '../format/write-log.ts';
import { crcOf } from '../host/mod.ts';
import { isVolumeError, type Volume, type VolumeRead, volumeError } from './volume.ts';

export type Inspected =
  | { readonly kind: 'blank' }
  /** `what` is there, for people; with `vol1` where it has such a label. */
  | { readonly kind: 'foreign'; readonly what: string; readonly vol1?: Vol1 }
  /** `record` is the label as it stands on the medium. */
  | { readonly kind: 'ours'; readonly label: VolumeLabel; readonly record: Buffer };

/**
 * Reads the labels. Afterwards the position is behind what was read; of one of ours, behind the mark.
 *
 * @throws PenstockError VOLUME_NOT_READY, VOLUME_CHANGED, VOLUME_IO; REPO_FEATURE for a label that this
 *   version must not use
 */
export async function inspectVolume(volume: Volume): Promise<Inspected> {
  await volume.rewind();
  const first = Buffer.alloc(VOL1_BYTES);
  const got = await readOrDamage(volume, first);
  if (got === 'damaged') return { kind: 'foreign', what: 'a record that cannot be read' };
  if (got.kind === 'end') return { kind: 'blank' };
  if (got.kind === 'mark') return { kind: 'foreign', what: 'a file mark' };
  const vol1 = got.bytes === VOL1_BYTES ? decodeVol1(first) : undefined;
  if (vol1 === undefined)
    return { kind: 'foreign', what: `a record of ${got.bytes} bytes without a label` };
  if (!isOurVol1(vol1)) {
    const by = vol1.implementation === '' ? '' : ` by ${vol1.implementation}`;
    return { kind: 'foreign', what: `volume ${vol1.name}${by}`, vol1 };
  }
  const damaged = (why: string): Inspected => {
    return { kind: 'foreign', what: `volume ${vol1.name} of Penstock, ${why}`, vol1 };
  };
  const bytes = Buffer.alloc(Math.min(LIMITS.volumeLabelBytesMax, volume.limits.recordBytesMax));
  const second = await readOrDamage(volume, bytes);
  if (second === 'damaged' || second.kind !== 'record' || second.bytes > bytes.length)
    return damaged('whose label cannot be read');
  const record = Buffer.from(bytes.subarray(0, second.bytes));
  try {
    const label = decodeLabel(record, `the label of ${volume.name}`, crcOf, false);
    await volume.spaceMarks(1);
    return { kind: 'ours', label, record };
  } catch (thrown) {
    if (!(thrown instanceof PenstockError) || thrown.code !== 'DAMAGED') throw thrown;
    return damaged(thrown.message);
  }
}

async function readOrDamage(volume: Volume, into: Buffer): Promise<VolumeRead | 'damaged'> {
  try {
    return await volume.read(into);
  } catch (thrown) {
    if (isVolumeError(thrown, 'VOLUME_DAMAGED')) return 'damaged';
    throw thrown;
  }
}

export interface LabelOptions {
  /** Overwrites whatever is there. */
  readonly force?: boolean;
  /** Whether one of ours may be overwritten; `isEmpty`: it has nothing but its labels. */
  readonly mayReplace?: (found: VolumeLabel, isEmpty: boolean) => Promise<boolean> | boolean;
  /**
   * Makes the label's record; by default it is not sealed. A repository that is encrypted gives
   * `(kind, id, clear) => sealer.encodeRecord(kind, id, clear, undefined)`.
   */
  readonly encode?: (kind: number, id: Buffer, clear: VolumeLabel) => Buffer;
}

/**
 * Labels a medium; the position is then behind the labels, where the first session begins.
 *
 * @returns the label of the volume of ours that was overwritten
 * @throws PenstockError VOLUME_FOREIGN when something is there, VOLUME_PROTECTED, LIMIT, USAGE
 */
export async function labelVolume(
  volume: Volume,
  label: VolumeLabel,
  options: LabelOptions = {},
): Promise<VolumeLabel | undefined> {
  const vol1 = encodeVol1(label.name, label.pool);
  const id = Buffer.from(label.volume, 'hex');
  const record =
    options.encode?.(RECORD.volumeLabel, id, label) ??
    plainRecord(RECORD.volumeLabel, label.volume, label, Buffer.alloc(0), crcOf);
  if (record.length > LIMITS.volumeLabelBytesMax)
    throw volumeError('LIMIT', volume.name, undefined, `a label of ${record.length} bytes`);
  // Also what cannot be understood is refused, but for force.
  const found = options.force === true ? undefined : await inspectVolume(volume);
  const replaced = found?.kind === 'ours' ? found.label : undefined;
  const mayGo =
    replaced !== undefined && options.mayReplace !== undefined
      ? await options.mayReplace(replaced, await isAtEnd(volume))
      : found === undefined || found.kind === 'blank';
  if (!mayGo && found !== undefined)
    throw volumeError('VOLUME_FOREIGN', volume.name, 0, `the medium holds ${heldBy(found)}`);
  await volume.rewind();
  await volume.append(vol1);
  await volume.append(record);
  await volume.writeMarks(1);
  await volume.synchronise();
  const written = await inspectVolume(volume);
  if (written.kind !== 'ours' || !written.record.equals(record))
    throw volumeError(
      'VOLUME_IO',
      volume.name,
      0,
      'the label does not read back as it was written',
    );
  return replaced;
}

/** Whether nothing follows; the position may be another afterwards. */
async function isAtEnd(volume: Volume): Promise<boolean> {
  const next = await readOrDamage(volume, Buffer.alloc(volume.limits.recordBytesMax));
  return next !== 'damaged' && next.kind === 'end';
}

/**
 * Looks whether a medium is the volume that it should be; the position is then behind its labels.
 *
 * @returns the label's record
 * @throws PenstockError VOLUME_FOREIGN
 */
export async function checkLabel(
  volume: Volume,
  label: Pick<VolumeLabel, 'volume' | 'name' | 'pool'>,
): Promise<Buffer> {
  const found = await inspectVolume(volume);
  if (found.kind === 'ours' && found.label.volume === label.volume) return found.record;
  const text = `the medium holds ${heldBy(found)}, not volume ${label.name} of pool ${label.pool}`;
  throw volumeError('VOLUME_FOREIGN', volume.name, 0, text);
}

/** What was found, for people. */
export function heldBy(found: Inspected): string {
  if (found.kind === 'blank') return 'nothing';
  if (found.kind === 'foreign') return found.what;
  return `volume ${found.label.name} of pool ${found.label.pool}`;
}
