/**
 * The catalog: this machine's disposable cache of what a repository's archives are.
 *
 * Contract: it is never needed and never an error. Where it cannot be opened, read or written, the
 * caller is told why once and goes on without; what it hands out was checked against the store's list
 * of names. Losing it costs reading the archive records again.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { CWD, ioError, openFiles } from '../host/mod.ts';
import {
  type ArchiveSummary,
  type CatalogedArchive,
  type ListedRecord,
  readSummaries,
  writeSummaries,
} from './archives.ts';
import { catalogFile, type Database, isDamage, openCatalogFile } from './schema.ts';

export type { ArchiveSummary, CatalogedArchive, ListedRecord } from './archives.ts';

export interface CatalogPlace {
  readonly stateDirectory: ByteString;
  readonly repositoryId: string;
  /** Told, at most once, why the catalog is not used. */
  onTrouble(reason: string): void;
}

/** One repository's catalog, while a command uses it. */
export class Catalog {
  readonly #place: CatalogPlace;
  #database: Database | undefined;
  #isTold = false;

  constructor(place: CatalogPlace) {
    this.#place = place;
  }

  /** The summaries that are known of the listed archive records. */
  async archives(listed: readonly ListedRecord[]): Promise<Map<string, ArchiveSummary>> {
    const { stateDirectory, repositoryId } = this.#place;
    try {
      this.#database = await openCatalogFile(stateDirectory, repositoryId);
      return readSummaries(this.#database, listed);
    } catch (error) {
      this.#giveUp(error);
      return new Map();
    }
  }

  /** Keeps summaries for the next command, and drops those of archives that are gone. */
  update(listed: readonly ListedRecord[], added: readonly CatalogedArchive[]): void {
    try {
      if (this.#database !== undefined) writeSummaries(this.#database, listed, added);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  close(): void {
    const database = this.#database;
    this.#database = undefined;
    if (database?.isOpen === true) database.close();
  }

  #giveUp(error: unknown): void {
    this.close();
    const { stateDirectory, repositoryId } = this.#place;
    // Damage that shows only when it is read: the next command begins a new one.
    if (isDamage(error)) openFiles().remove(CWD, catalogFile(stateDirectory, repositoryId));
    if (!this.#isTold) this.#place.onTrouble(toPenstockError(error).message);
    this.#isTold = true;
  }
}

/** Removes a repository's catalog; the next command makes it again. HOST_IO. */
export function removeCatalog(stateDirectory: ByteString, repositoryId: string): void {
  const file = catalogFile(stateDirectory, repositoryId);
  const removed = openFiles().remove(CWD, file);
  const error = removed < 0 ? ioError(removed, 'remove', file) : undefined;
  const isThere = error?.errno !== 'ENOENT' && error?.errno !== 'ENOTDIR';
  if (error instanceof PenstockError && isThere) throw error;
}
