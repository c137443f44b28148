/**
 * Where an open file has data and where holes, as the system tells it.
 *
 * Some file systems (tmpfs) look at every page up to the next hole. A large file is read in many parts, so
 * what was found is kept: else it would be looked through to its end for each of them.
 *
 * Contract: whatever is answered, content read by it is right, for a hole reads as zeros. So it does no
 * harm that the file may have changed since, or be another one of the same number: only how sparse it
 * is stored depends on it.
 */
import { ERRNO, type Files } from '../host/files-only.ts';

/** What tells a file, as it was at one time, from others. */
export interface FileState {
  readonly inode: number;
  readonly size: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanos: number;
}

export class DataRanges {
  readonly #files: Files;
  #inode = -1;
  #size = -1;
  #ctimeSeconds = 0;
  #ctimeNanos = 0;
  /** The stretch of this file that is known to have no hole. */
  #from = 0;
  #to = 0;

  constructor(files: Files) {
    this.#files = files;
  }

  /** Names the file that is asked about from now on. */
  begin({ inode, size, ctimeSeconds, ctimeNanos }: FileState): void {
    const isSame =
      inode === this.#inode &&
      size === this.#size &&
      ctimeNanos === this.#ctimeNanos &&
      ctimeSeconds === this.#ctimeSeconds;
    if (isSame) return;
    this.#inode = inode;
    this.#size = size;
    this.#ctimeSeconds = ctimeSeconds;
    this.#ctimeNanos = ctimeNanos;
    this.#from = 0;
    this.#to = 0;
  }

  /** Where data begins, from `position` to `end`; `end` where there is only a hole. */
  dataFrom(fd: number, position: number, end: number): number {
    if (this.#isData(position)) return position;
    const data = this.#files.seekData(fd, position);
    if (data >= 0) return Math.min(data, end);
    // Where a file system has no holes, everything is data.
    return data === -ERRNO.ENXIO ? end : position;
  }

  /** Where the next hole begins after `position`, which has data; at most `end`. */
  holeFrom(fd: number, position: number, end: number): number {
    if (!this.#isData(position)) {
      const hole = this.#files.seekHole(fd, position);
      if (hole <= position) return end;
      this.#from = position;
      this.#to = hole;
    }
    return Math.min(this.#to, end);
  }

  #isData(position: number): boolean {
    return position >= this.#from && position < this.#to;
  }
}
