/**
 * What lies in the directory of a repository and is none of its objects (directory-store.ts). Names of
 * objects by kind are the business of whoever reads them; here it is about places and sorts of files.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { errnoName, FileStatus, type Files, KIND, newListing } from '../host/mod.ts';

export interface Layout {
  /** Folders of objects, one file each. */
  readonly kinds: readonly string[];
  readonly isObjectName: (name: ByteString) => boolean;
}

/** File systems make it in their root. */
const NOT_OURS = 'lost+found';

/** Paths below `root`, for people, in order; and the folders that should be there and are not. */
export function findForeign(
  files: Files,
  root: number,
  layout: Layout,
): { foreign: string[]; missing: string[] } {
  const foreign: string[] = [];
  const status = new FileStatus();
  const isFolder = (parent: number, name: ByteString): boolean =>
    files.status(parent, name, status) >= 0 && status.kind === KIND.directory;
  const isFile = (parent: number, name: ByteString): boolean =>
    files.status(parent, name, status) >= 0 && status.kind === KIND.file;
  const top = namesOf(files, root);
  const folders = [...layout.kinds, 'writing'];
  for (const name of top) {
    if (name === NOT_OURS || (name === 'repository' && isFile(root, name))) continue;
    if (!folders.includes(name) || !isFolder(root, name)) foreign.push(toDisplay(name));
  }
  for (const folder of folders) {
    const fd = files.openDirectory(root, folder);
    if (fd < 0) continue;
    for (const name of namesOf(files, fd)) {
      if (folder === 'chunks' && /^[0-9a-f]{2}$/.test(name) && isFolder(fd, name))
        foreign.push(...strayChunks(files, fd, name, layout));
      else if (folder === 'chunks' || !layout.isObjectName(name) || !isFile(fd, name)) {
        // Gone meanwhile: it was an object that somebody removed.
        if (files.status(fd, name, status) >= 0) foreign.push(`${folder}/${toDisplay(name)}`);
      }
    }
    files.close(fd);
  }
  return { foreign: foreign.sort(), missing: folders.filter((name) => !top.includes(name)) };
}

/** In chunks/xx lie the chunks whose ids begin with xx. */
function strayChunks(files: Files, chunks: number, folder: string, layout: Layout): string[] {
  const fd = files.openDirectory(chunks, folder);
  if (fd < 0) return errnoName(-fd) === 'ENOENT' ? [] : [`chunks/${folder}`];
  const status = new FileStatus();
  const stray = namesOf(files, fd).filter((name) => {
    if (files.status(fd, name, status) < 0) return false;
    return status.kind !== KIND.file || !layout.isObjectName(name) || !name.startsWith(folder);
  });
  files.close(fd);
  return stray.map((name) => `chunks/${folder}/${toDisplay(name)}`);
}

function namesOf(files: Files, fd: number): ByteString[] {
  const listing = newListing();
  return files.list(fd, listing) < 0 ? [] : [...listing.names];
}
