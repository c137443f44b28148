/**
 * Opens media (drive-messages.ts) as volumes: images each by itself, tapes of one drive through that drive.
 *
 * Contract: drives are opened at their first tape, and closed by `close`, when nothing is opened any more.
 */
import type { Medium, TapeMedium } from './drive-messages.ts';
import type { MountDesk, MountRequest } from './mount-requests.ts';
import type { SharedDrive } from './shared-drive.ts';
import { openTapeImage } from './tape-image.ts';
import type { Volume } from './volume.ts';

/** `create`: a medium that can be made is made where there is none. */
export type MediumUse = 'read' | 'write' | 'create';

export class Media {
  readonly #drives = new Map<string, Promise<SharedDrive>>();
  readonly #desk: MountDesk | undefined;

  /** @param desk asks for tapes that are not there */
  constructor(desk?: MountDesk) {
    this.#desk = desk;
  }

  /**
   * @param volume id of the volume that it must be, where that is known
   * @throws DEVICE_*, LIBRARY_MISSING, VOLUME_NOT_READY, and what images throw
   */
  async open(medium: Medium, use: MediumUse, volume?: string): Promise<Volume> {
    if (medium.kind === 'tape') {
      const { name } = medium;
      return (await this.#drive(medium)).volume({ name, volume, isRead: use === 'read' });
    }
    const { path, volumeBytes } = medium;
    const how = use === 'read' ? { readOnly: true } : use === 'create' ? { create: true } : {};
    return openTapeImage({ path, volumeBytes, ...how });
  }

  /** Has somebody bring one of the tapes, or a blank one, and waits for it; false: nobody does. */
  async askFor(
    medium: TapeMedium,
    request: Pick<MountRequest, 'tapes' | 'blank'>,
  ): Promise<boolean> {
    if (this.#desk?.isOpen !== true) return false;
    return await (await this.#drive(medium)).askForTape(request);
  }

  async close(): Promise<void> {
    for (const opening of this.#drives.values()) {
      const drive = await opening.catch(() => undefined);
      await drive?.close().catch(() => undefined);
    }
    this.#drives.clear();
  }

  #drive(medium: TapeMedium): Promise<SharedDrive> {
    const known = this.#drives.get(medium.device);
    if (known !== undefined) return known;
    // Most never need it.
    const opening = import('./tape-medium.ts').then(({ openDrive }) =>
      openDrive(medium, this.#desk),
    );
    this.#drives.set(medium.device, opening);
    opening.catch(() => this.#drives.delete(medium.device));
    return opening;
  }
}
