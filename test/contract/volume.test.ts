/**
 * Goal: every volume keeps the contract of src/media/volume.ts.
 * Method: the suite in volume.ts runs over each of them.
 */
import { faultyVolume } from '../../src/media/fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from '../../src/media/fake/memory-volume.ts';
import type { Volume } from '../../src/media/volume.ts';
import { volumeContract } from './volume.ts';

const EARLY_BYTES = 32 << 10;

function memory(bufferObjects: number, open: (volume: MemoryVolume) => Volume) {
  const media = new WeakMap<object, MemoryMedium>();
  return {
    recordBytes: 1 << 20,
    make: async ({ capacityBytes }: { capacityBytes?: number }) => {
      const medium = new MemoryMedium();
      medium.capacityBytes = capacityBytes ?? Number.POSITIVE_INFINITY;
      medium.earlyWarningBytes = EARLY_BYTES;
      const limits = { recordBytesMin: 1, recordBytesMax: 1 << 20 };
      const drive = (): Volume => open(new MemoryVolume(medium, { limits, bufferObjects }));
      const under = {
        volume: drive(),
        reopen: async () => drive(),
        dispose: async () => {},
      };
      media.set(under, medium);
      return under;
    },
    protect: async (under: object) => {
      const medium = media.get(under);
      if (medium !== undefined) medium.writeProtected = true;
    },
  };
}

volumeContract(
  'in memory',
  memory(0, (volume) => volume),
);
volumeContract(
  'in memory, buffered, behind a script without rules',
  memory(8, (volume) => faultyVolume(volume)),
);
