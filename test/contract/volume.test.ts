/**
 * Goal: every volume keeps the contract of src/media/volume.ts.
 * Method: the suite in volume.ts runs over each of them.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { faultyFiles } from '../../src/host/fake/mod.ts';
import { openFiles } from '../../src/host/mod.ts';
import { faultyVolume } from '../../src/media/fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from '../../src/media/fake/memory-volume.ts';
import { openTapeImage } from '../../src/media/tape-image.ts';
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

const paths = new WeakMap<object, { path: string; isProtected: boolean }>();
volumeContract('tape image', {
  recordBytes: 1 << 20,
  make: async ({ capacityBytes }) => {
    const folder = mkdtempSync(join(tmpdir(), 'penstock-volume-'));
    const state = { path: join(folder, 'volume.tap'), isProtected: false };
    const volumeBytes = capacityBytes ?? 4 << 20;
    const open = (): Volume => {
      const files = faultyFiles(openFiles());
      // Permissions do not hold for root.
      if (state.isProtected) files.fault('openWrite').error('EACCES').forever();
      return openTapeImage({ path: state.path, create: true, volumeBytes, files });
    };
    const under = {
      volume: open(),
      reopen: async () => {
        await under.volume.close();
        under.volume = open();
        return under.volume;
      },
      dispose: async () => {
        await under.volume.close();
        rmSync(folder, { recursive: true });
      },
    };
    paths.set(under, state);
    return under;
  },
  protect: async (under) => {
    const state = paths.get(under);
    if (state === undefined) return;
    chmodSync(state.path, 0o400);
    state.isProtected = true;
  },
});
