/**
 * Chunks between two tapes of one drive: they wait in a file without a name, so that the tapes are not
 * changed for every record.
 *
 * Contract: nothing is left of it, however the process ends.
 */
import { tmpdir } from 'node:os';
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import type { ChunkSource } from '../format/chunk-media.ts';
import { errnoName, type Files, openFiles } from '../host/mod.ts';
import { copyChunk } from '../media/volume-chunks.ts';
import { closeFile, openNamelessFile } from '../modules/nameless-file.ts';

interface Staged {
  readonly at: number;
  readonly bytes: number;
}

export class MigrateStage {
  readonly #files: Files = openFiles();
  readonly #fd: number = openNamelessFile();
  readonly #chunks = new Map<string, Staged>();
  #end = 0;

  /** What waits, in bytes. */
  get bytes(): number {
    return this.#end;
  }

  /**
   * Takes a chunk; false: there is no room for it behind others.
   *
   * @param view memory for a part of it
   * @throws HOST_IO where there is no room for it alone; what reading it met
   */
  async take(id: string, source: ChunkSource, view: Buffer): Promise<boolean> {
    const at = this.#end;
    let isFull = false;
    let end = at;
    try {
      await copyChunk(
        id,
        source,
        {
          write: (bytes, position) => {
            const wrote = this.#files.write(this.#fd, bytes, 0, bytes.length, at + position);
            if (wrote < 0) {
              isFull = errnoName(wrote) === 'ENOSPC' && at > 0;
              throw stageError(wrote, 'write to');
            }
            end = Math.max(end, at + position + bytes.length);
          },
        },
        view,
      );
    } catch (error) {
      if (isFull) return false;
      throw error;
    }
    this.#chunks.set(id, { at, bytes: end - at });
    this.#end = end;
    return true;
  }

  open(id: string): ChunkSource {
    const { at, bytes } = must(this.#chunks.get(id), 'a chunk that waits');
    return {
      bytes,
      read: (view, offset, length, position) => {
        const count = Math.max(0, Math.min(length, bytes - position));
        const got = this.#files.read(this.#fd, view, offset, count, at + position);
        if (got < 0) throw stageError(got, 'read');
        return got;
      },
      close: () => undefined,
    };
  }

  /** Lets go of all that waited. */
  clear(): void {
    this.#chunks.clear();
    this.#end = 0;
    this.#files.truncate(this.#fd, 0);
  }

  close(): void {
    closeFile(this.#fd);
  }
}

function stageError(result: number, call: string): PenstockError {
  const errno = errnoName(result);
  const text = `cannot ${call} the file in ${tmpdir()} in which chunks wait: ${errno}`;
  const hint = 'set TMPDIR to a folder with room for a chunk, then run the command again';
  return new PenstockError('HOST_IO', text, { errno, subject: tmpdir(), hint });
}
