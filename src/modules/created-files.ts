/**
 * New files of a restore, and what they have from their creation, so that nothing is set that they have
 * already.
 *
 * Who owns a new file, and with which mode, is up to the user, the directory (its set-id bit, default
 * access control lists), mount options and servers (which may take root for nobody). So it is not
 * reasoned out: the first new file of each directory and mode is looked at.
 *
 * Contract: a file that is to have another owner is created for its user alone; one that keeps its owner
 * has its final mode at once. Directories are told apart by their handles: forget them (`forget`)
 * before handles are closed and used again.
 */
import type { ByteString } from '../base/bytes.ts';
import type { EntryView } from '../format/entry.ts';
import { FileStatus, type Files } from '../host/files-only.ts';
import type { CreatedStatus, MetadataWriter } from './file-metadata.ts';

const PRIVATE_MODE = 0o600;

export class CreatedFiles {
  /** What the last file has from its creation; undefined: not known. */
  given: CreatedStatus | undefined;
  readonly #files: Files;
  readonly #metadata: MetadataWriter;
  readonly #status = new FileStatus();
  readonly #known = new Map<number, CreatedStatus>();
  #directory = -1;

  constructor(files: Files, metadata: MetadataWriter) {
    this.#files = files;
    this.#metadata = metadata;
  }

  /** Handles of directories may mean other ones from now on. */
  forget(): void {
    this.#known.clear();
    this.#directory = -1;
  }

  /** Creates the file of an entry. Returns its handle or a negative error number. */
  create(directory: number, name: ByteString, entry: EntryView): number {
    if (directory !== this.#directory) {
      this.#known.clear();
      this.#directory = directory;
    }
    const own = this.#known.get(PRIVATE_MODE);
    const { mode } = entry;
    const keeps = own !== undefined && this.#metadata.isOwner(entry, own);
    // A mode may forbid to set attributes, and they may change the mode.
    const asFinal = keeps && mode <= 0o777 && !entry.hasExtras;
    const asked = asFinal ? mode : PRIVATE_MODE;
    const fd = this.#files.createExclusive(directory, name, asked);
    if (fd < 0) return fd;
    this.given = this.#known.get(asked);
    if (this.given === undefined && this.#files.statusOf(fd, this.#status) >= 0) {
      const { uid: ownUid, gid: ownGid, mode: ownMode } = this.#status;
      this.given = { uid: ownUid, gid: ownGid, mode: ownMode };
      this.#known.set(asked, this.given);
    }
    return fd;
  }
}
