/**
 * The contract of object stores, for each implementation.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '../../src/base/bytes.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { objectStoreContract } from './object-store.ts';

objectStoreContract('directory', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock store '));
  return {
    store: openDirectoryStore(fromText(join(folder, 'repository')), true),
    dispose: async () => rmSync(folder, { recursive: true }),
  };
});
