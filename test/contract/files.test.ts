/** Each implementation of the port `Files` passes its contract. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '../../src/base/bytes.ts';
import { faultyFiles, MemoryFiles } from '../../src/host/fake/mod.ts';
import { CWD, type Files, openFiles } from '../../src/host/mod.ts';
import { type CFunction, loadLibc, loadProgram } from '../../src/host/native/libc.ts';
import { LinuxFiles } from '../../src/host/native/linux-files.ts';
import { filesContract } from './files.ts';
import { type FilesPlace, good } from './files-place.ts';

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
filesContract({
  name: 'the system behind an empty script',
  open: () => onDisk(faultyFiles(openFiles())),
});

/** The C library of older systems: it lacks calls, and cannot change modes without following. */
function openOldFiles(): Files {
  const program = loadProgram();
  const libc = loadLibc(process.arch as 'x64' | 'arm64', { ...program, has: () => false });
  const link = Buffer.from('/proc/self/exe\0');
  const fchmodat: CFunction = (parent, name, mode, flags) =>
    // Of a link, the answer is always that it cannot be done.
    flags === 0 ? libc.fchmodat(parent, name, mode, 0) : libc.fchmodat(CWD, link, 0, 0x100);
  return new LinuxFiles({ ...libc, fchmodat });
}

filesContract({ name: 'an older system', open: () => onDisk(openOldFiles()) });

function inMemory(files: MemoryFiles): FilesPlace {
  good(files.makeDirectory(CWD, '/place', 0o755));
  const root = good(files.openDirectoryFollow(CWD, '/place'));
  return {
    files,
    root,
    rootPath: '/place',
    remove: () => {
      good(files.close(root));
      assert.equal(files.handleCount, 0, 'every handle was closed');
    },
  };
}

filesContract({ name: 'files in memory', open: () => inMemory(new MemoryFiles()) });
