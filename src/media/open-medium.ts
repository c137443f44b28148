/**
 * Opens media (drive-messages.ts) as volumes: images each by itself, tapes through the drives in which they are
 * (tape-drives.ts).
 *
 * Contract: drives are opened at their first tape, and closed by `close`, when nothing is opened any more; where a
 * medium has several, also by `closeFree`.
 */
import { must } from '../base/assert.ts';
import type { Medium, TapeMedium } from './drive-messages.ts';
import type { MountRequest } from './mount-requests.ts';
import { type DrivesAround, TapeDrives } from './tape-drives.ts';
import { openTapeImage } from './tape-image.ts';
import type { Volume } from './volume.ts';

/** `create`: a medium that can be made is made where there is none. */
export type MediumUse = 'read' | 'write' | 'create';

export class Media {
  readonly #drives: TapeDrives;

  constructor(around: DrivesAround = {}) {
    this.#drives = new TapeDrives(around);
  }

  /**
   * @param volume id of the volume that it must be, where that is known
   * @throws DEVICE_*, LIBRARY_MISSING, VOLUME_NOT_READY, and what images throw; USAGE where it is not known which
   *   of several tapes is meant
   */
  async open(medium: Medium, use: MediumUse, volume?: string): Promise<Volume> {
    const isAny = volume === undefined && medium.kind === 'tape' && isByHand(medium);
    if (isAny && medium.drives.length > 1) {
      const { name } = medium;
      return await this.#drives.onlyLoaded(medium, { name, volume, isRead: use === 'read' });
    }
    const first = await this.candidates(medium, use, volume).next();
    return must(first.value ?? undefined, 'a volume');
  }

  /** As `open`, but where several tapes may be meant all of them, one after the other. */
  async *candidates(medium: Medium, use: MediumUse, volume?: string): AsyncGenerator<Volume> {
    if (medium.kind === 'tape') {
      const { name } = medium;
      yield* this.#drives.candidates(medium, { name, volume, isRead: use === 'read' });
      return;
    }
    const { path, volumeBytes } = medium;
    const how = use === 'read' ? { readOnly: true } : use === 'create' ? { create: true } : {};
    yield openTapeImage({ path, volumeBytes, ...how });
  }

  /** Has somebody bring one of the tapes, or a blank one, and waits for it; false: nobody does. */
  async askFor(
    medium: TapeMedium,
    request: Pick<MountRequest, 'tapes' | 'blank'>,
  ): Promise<boolean> {
    return await this.#drives.askFor(medium, request);
  }

  /** Drives that were found unusable are tried again. */
  tryAgain(): void {
    this.#drives.tryAgain();
  }

  /** Others may have the drives of which no volume is open. */
  async closeFree(): Promise<void> {
    await this.#drives.closeFree();
  }

  async close(): Promise<void> {
    await this.#drives.close();
  }
}

const isByHand = ({ changer }: TapeMedium): boolean => changer === undefined;
