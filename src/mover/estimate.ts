/**
 * How much a backup will see, so that its progress can tell the time left: walks the sources beside
 * the backup, in short turns of this thread, which has little else to do. An estimate only: it does
 * not read ignore files and errors are passed over.
 */
import type { ByteString } from '../base/bytes.ts';
import { CWD, FileStatus, KIND, newListing, openFiles } from '../host/mod.ts';
import { Selection, type SelectionOptions } from '../modules/selection.ts';

export interface Estimate {
  readonly files: number;
  readonly bytes: number;
}

/** How long one turn may keep the thread. */
const TURN_MS = 4;

/** Resolves with the size of the sources; `onFound` is told what was found so far. Rejects with the reason of `signal`. */
export async function estimateSources(
  paths: readonly ByteString[],
  options: SelectionOptions,
  signal: AbortSignal,
  onFound: (soFar: Estimate) => void,
  turnMs: number = TURN_MS,
): Promise<Estimate> {
  const files = openFiles();
  const status = new FileStatus();
  const listing = newListing();
  const selection = new Selection({ ...options, ignoreFiles: [] });
  const pending = [...paths];
  const total = { files: 0, bytes: 0 };
  let turn = performance.now();
  const add = (size: number, mtimeSeconds: number): void => {
    if (selection.excludesFile(size, mtimeSeconds * 1000)) return;
    total.files++;
    total.bytes += size;
  };
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (performance.now() - turn > turnMs) {
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      onFound({ ...total });
      turn = performance.now();
    }
    const fd = files.openDirectory(CWD, path);
    if (fd < 0) {
      if (files.status(CWD, path, status) >= 0 && status.kind === KIND.file)
        add(status.size, status.mtimeSeconds);
      continue;
    }
    if (files.list(fd, listing) >= 0) {
      for (const name of listing.names) {
        if (files.status(fd, name, status) < 0) continue;
        const below = path === '/' ? `/${name}` : `${path}/${name}`;
        const directory = status.kind === KIND.directory;
        if (selection.usesPaths && selection.excludes(below, name, directory, undefined)) continue;
        if (directory) pending.push(below);
        else if (status.kind === KIND.file) add(status.size, status.mtimeSeconds);
      }
    }
    files.close(fd);
  }
  return total;
}
