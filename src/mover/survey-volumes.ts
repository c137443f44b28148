/**
 * Looks for volumes from which a repository can be made again (recover-volumes.ts): images in a folder, the
 * tapes in drives, all tapes of a library one after the other.
 *
 * Contract: nothing is written. What is no volume of ours, or cannot be read, is passed over and told, and so is a
 * drive that cannot be reached where there is another; a library, or the only drive, ends the search.
 */
import { readdirSync } from 'node:fs';
import { must } from '../base/assert.ts';
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
export type FoundPlace = Pick<
  PoolSettings,
  'kind' | 'path' | 'device' | 'changer' | 'drive' | 'otherDrives'
>;

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
 * Looks at the tapes in drives; with a library at all of its tapes, one after the other.
 *
 * @param onTape is told which tape is looked at now
 * @throws DEVICE_* where no drive can be used; LIBRARY_MISSING, USAGE for an address or a secret
 */
export async function surveyDrives(
  place: TapePlace,
  chap: ChapSource | undefined,
  onTape: (name: string) => void,
): Promise<Survey> {
  const search = new Search();
  const { drives, changer } = place;
  const [{ device, drive }, ...otherDrives] = [must(drives[0], 'a drive'), ...drives.slice(1)];
  const found: FoundPlace = {
    ...{ kind: 'tape', path: '', device },
    ...(changer === undefined ? {} : { changer }),
    ...(drive === undefined ? {} : { drive }),
    ...(otherDrives.length === 0 ? {} : { otherDrives }),
  };
  const failures = new Map<string, PenstockError>();
  const fail = (error: PenstockError): unknown => failures.set(error.message, error);
  const media = new Media({ onPassedOver: fail });
  try {
    const all = await tapeMedium(place, chap, '');
    const tapes = await tapesFor(all);
    for (const name of tapes ?? []) {
      onTape(`the tape ${name}`);
      await search.look(`the tape ${name}`, name, found, () =>
        media.open({ ...all, name }, 'read'),
      );
      await media.closeFree();
    }
    for (const one of tapes === undefined ? drives : []) {
      const where = `the tape in ${one.device}`;
      onTape(where);
      const medium = { ...all, drives: [one] };
      const looking = search.look(where, undefined, found, () => media.open(medium, 'read'));
      await looking.catch((error: unknown) => {
        if (!isOutOfReach(error)) throw error;
        fail(toPenstockError(error));
      });
    }
  } finally {
    await media.close();
  }
  const [first] = failures.values();
  if (failures.size === drives.length && first !== undefined) throw first;
  for (const { message } of failures.values()) search.problems.push(message);
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
