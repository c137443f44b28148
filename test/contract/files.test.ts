/** Each implementation of the port `Files` passes its contract. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '../../src/base/bytes.ts';
import { faultyFiles } from '../../src/host/fake/faulty-files.ts';
import { CWD, type Files, openFiles } from '../../src/host/mod.ts';
import { type FilesPlace, filesContract, good } from './files.ts';

function onDisk(files: Files): FilesPlace {
  const path = mkdtempSync(join(tmpdir(), 'penstock-files-'));
  const rootPath = fromText(path);
  const root = good(files.openDirectoryFollow(CWD, rootPath));
  return {
    files,
    root,
    rootPath,
    remove: () => {
      good(files.close(root));
      rmSync(path, { recursive: true });
    },
  };
}

filesContract({ name: 'the system', open: () => onDisk(openFiles()) });
filesContract({ name: 'the system behind an empty script', open: () => onDisk(faultyFiles(openFiles())) });
