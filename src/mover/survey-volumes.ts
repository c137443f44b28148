/**
 * Looks for volumes from which a repository can be made again (recover-volumes.ts): images in a folder, the
 * tape in a drive, all tapes of a library one after the other.
 *
 * Contract: nothing is written. What is no volume of ours, or cannot be read, is passed over and told; a drive
 * or a library that cannot be reached ends the search.
 */
import { readdirSync } from 'node:fs';
import { type ByteString, fromBytes, toBytes, toDisplay } from '../base/bytes.ts';
import { isOutOfReach, PenstockError, toPenstockError } from '../base/errors.ts';
import { Media } from '../media/open-medium.ts';
import { openTapeImage } from '../media/tape-image.ts';
import type { Volume } from '../media/volume.ts';
import { type SurveyedVolume, surveyVolume } from '../media/volume-survey.ts';
import type { ChapSource } from '../scsi/iscsi-chap.ts';
import type { PoolSettings } from './pools.ts';
import { tapesFor } from './volume-choice.ts';
import { type TapePlace, tapeMedium } from './volume-medium.ts';

/** Where a volume was found, as its pool says it. */
export type FoundPlace = Pick<PoolSettings, 'kind' | 'path' | 'device' | 'changer' | 'drive'>;

export interface FoundVolume extends SurveyedVolume {
  readonly place: FoundPlace;
  /** What the medium holds, or could; 0 where that is not known. */
  readonly capacityBytes: number;
}

export interface Survey {
  readonly volumes: readonly FoundVolume[];
  /** What was passed over, and why. */
  readonly problems: readonly string[];
}

const ENDING = '.tap';

/** Looks through all images of a folder. HOST_IO when it cannot be listed. */
export async function surveyFolder(folder: ByteString): Promise<Survey> {
  const search = new Search();
  for (const file of imagesIn(folder)) {
    const path = `${folder}/${file}`;
    const name = file.slice(0, -ENDING.length);
    const open = async (): Promise<Volume> => openTapeImage({ path, readOnly: true });
    await search.look(toDisplay(path), name, { kind: 'tape-image', path: folder }, open);
  }
  return search;
}

function imagesIn(folder: ByteString): string[] {
  try {
    return readdirSync(toBytes(folder), { encoding: 'buffer' })
      .map((name) => fromBytes(name))
      .filter((name) => name.endsWith(ENDING))
      .sort();
  } catch (cause) {
    throw new PenstockError('HOST_IO', `cannot list ${toDisplay(folder)}`, { cause });
  }
}

/**
 * Looks at the tape in a drive; with a library at all of its tapes, one after the other.
 *
 * @param onTape is told which tape is looked at now
 * @throws DEVICE_*, LIBRARY_MISSING, USAGE for an address or a secret
 */
export async function surveyDrive(
  place: TapePlace,
  chap: ChapSource | undefined,
  onTape: (name: string) => void,
): Promise<Survey> {
  const search = new Search();
  const media = new Media();
  const { device, changer, drive } = place;
  const found: FoundPlace = {
    ...{ kind: 'tape', path: '', device },
    ...(changer === undefined ? {} : { changer }),
    ...(drive === undefined ? {} : { drive }),
  };
  try {
    for (const name of (await tapesFor(await tapeMedium(place, chap, ''))) ?? [undefined]) {
      const where = name === undefined ? `the tape in ${device}` : `the tape ${name}`;
      onTape(where);
      const medium = await tapeMedium(place, chap, name ?? '');
      await search.look(where, name, found, () => media.open(medium, 'read'));
    }
  } finally {
    await media.close();
  }
  return search;
}

class Search implements Survey {
  readonly volumes: FoundVolume[] = [];
  readonly problems: string[] = [];

  /** @param name what the volume must be called to be found there; undefined: anything */
  async look(
    where: string,
    name: string | undefined,
    place: FoundPlace,
    open: () => Promise<Volume>,
  ): Promise<void> {
    try {
      const volume = await open();
      try {
        await this.#see(where, name, place, volume);
      } finally {
        await volume.close();
      }
    } catch (error) {
      if (isOutOfReach(error)) throw error;
      this.problems.push(`${where}: ${toPenstockError(error).message}`);
    }
  }

  async #see(
    where: string,
    name: string | undefined,
    place: FoundPlace,
    volume: Volume,
  ): Promise<void> {
    const found = await surveyVolume(volume);
    if ('foreign' in found) {
      this.problems.push(`${where} holds ${found.foreign}`);
      return;
    }
    const { label, damaged } = found;
    if (name !== undefined && name !== label.name) {
      const right = place.kind === 'tape' ? label.name : `${label.name}${ENDING}`;
      const hint = place.kind === 'tape' ? 'it must be labelled' : 'name it';
      this.problems.push(`${where} is volume ${label.name}: ${hint} ${right}`);
      return;
    }
    const { capacityBytes = 0 } = await volume.status();
    this.volumes.push({ ...found, place, capacityBytes });
    for (const object of damaged)
      this.problems.push(`volume ${label.name}, object ${object}: it cannot be read`);
  }
}
