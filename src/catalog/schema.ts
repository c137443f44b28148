/**
 * The file of a catalog: opening it, making it, and telling whether it is one.
 *
 *   STATE/catalog/<repository id>.sqlite
 *     application id "PSTK", user version SCHEMA_VERSION
 *     archives: name of the archive record | its length | its time of storing | summary (JSON) | CRC-32
 *
 * A catalog is disposable: one of another version or another program, or a damaged one, is replaced
 * by an empty one. It is written without a journal file: a crash may damage it, and every row has a
 * checksum, so damage is never believed. It holds names in clear, so it lies in a folder that only its
 * owner can enter; a folder or a file of somebody else is not touched.
 */
// biome-ignore lint/correctness/noUnresolvedImports: the linter's list of Node's modules is older
import type { DatabaseSync } from 'node:sqlite';
import { type ByteString, toBytes, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { CWD, FileStatus, type Files, ioError, KIND, openFiles } from '../host/mod.ts';

/** An open catalog file. */
export type Database = DatabaseSync;

const SCHEMA_VERSION = 1;
const APPLICATION_ID = 0x5053544b;
/** Another command that writes is waited for so long; then this one goes on without. */
const LOCK_WAIT_MS = 250;

const TABLES = `
  CREATE TABLE archives (
    name TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    summary TEXT NOT NULL,
    crc INTEGER NOT NULL
  ) WITHOUT ROWID;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** The folder of all catalogs in a state folder. */
export function catalogFolder(stateDirectory: ByteString): ByteString {
  return `${stateDirectory.replace(/\/+$/, '')}/catalog`;
}

export function catalogFile(stateDirectory: ByteString, repositoryId: string): ByteString {
  return `${catalogFolder(stateDirectory)}/${repositoryId}.sqlite`;
}

/**
 * Opens the catalog file of a repository; makes it where there is none or no good one.
 *
 * @throws PenstockError HOST_IO where that cannot be; errors of SQLite, such as its being locked
 */
export async function openCatalogFile(
  stateDirectory: ByteString,
  repositoryId: string,
  files: Files = openFiles(),
): Promise<Database> {
  const folder = catalogFolder(stateDirectory);
  const file = catalogFile(stateDirectory, repositoryId);
  prepareFolder(files, stateDirectory, folder);
  const isNew = prepareFile(files, file);
  if (!isNew) {
    const known = await openKnown(file);
    if (known !== undefined) return known;
    replaceFile(files, file);
  }
  const database = await connect(file);
  try {
    // One transaction: nobody sees half of the tables.
    database.exec(`BEGIN IMMEDIATE;${TABLES}COMMIT;`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

async function connect(file: ByteString): Promise<Database> {
  // Loaded late: most commands do without.
  // biome-ignore lint/correctness/noUnresolvedImports: the linter's list of Node's modules is older
  const { DatabaseSync } = await import('node:sqlite');
  const database = new DatabaseSync(toBytes(file), { timeout: LOCK_WAIT_MS });
  try {
    database.exec(
      'PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA trusted_schema = OFF;',
    );
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** The catalog in a file; undefined when it holds something else or is damaged. */
async function openKnown(file: ByteString): Promise<Database | undefined> {
  let database: Database | undefined;
  try {
    database = await connect(file);
    const application = database.prepare('PRAGMA application_id').get();
    const version = database.prepare('PRAGMA user_version').get();
    const known =
      application?.application_id === APPLICATION_ID && version?.user_version === SCHEMA_VERSION;
    if (known) {
      database.prepare('SELECT name, bytes, modified_ms, summary, crc FROM archives LIMIT 0');
      return database;
    }
    database.close();
    return undefined;
  } catch (error) {
    if (database?.isOpen === true) database.close();
    if (isDamage(error)) return undefined;
    throw error;
  }
}

const SQLITE_ERROR = 1;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** Whether SQLite says that the file is not what it should be; not that it cannot be reached. */
export function isDamage(error: unknown): boolean {
  // A number that no catalog holds.
  if (error instanceof RangeError) return true;
  const code = (error as { errcode?: unknown } | null)?.errcode;
  if (typeof code !== 'number') return false;
  return [SQLITE_ERROR, SQLITE_CORRUPT, SQLITE_NOTADB].includes(code & 0xff);
}

function prepareFolder(files: Files, stateDirectory: ByteString, folder: ByteString): void {
  const made = files.makeDirectory(CWD, folder, 0o700);
  const status = new FileStatus();
  for (const directory of [stateDirectory, folder]) {
    // The state folder may be named through a link; the folder in it is our own.
    const got =
      directory === folder
        ? files.status(CWD, directory, status)
        : files.statusFollow(CWD, directory, status);
    if (got < 0) throw ioError(made < 0 ? made : got, 'make the folder', folder);
    const others = directory === folder ? 0o077 : 0o022;
    requireOwn(files, status, directory, KIND.directory, others);
  }
}

/** Returns whether the file was made just now. */
function prepareFile(files: Files, file: ByteString): boolean {
  const status = new FileStatus();
  if (files.status(CWD, file, status) >= 0) {
    requireOwn(files, status, file, KIND.file, 0o077);
    return false;
  }
  const fd = files.createExclusive(CWD, file, 0o600);
  if (fd < 0) throw ioError(fd, 'create', file);
  files.close(fd);
  return true;
}

function replaceFile(files: Files, file: ByteString): void {
  const removed = files.remove(CWD, file);
  if (removed < 0) throw ioError(removed, 'replace', file);
  prepareFile(files, file);
}

/** Names must not come to lie where others can read them, nor be believed where others can write. */
function requireOwn(
  files: Files,
  status: FileStatus,
  path: ByteString,
  kind: number,
  forbidden: number,
): void {
  const isOurs = status.uid === files.effectiveUserId();
  if (status.kind === kind && isOurs && (status.mode & forbidden) === 0) return;
  const why = !isOurs
    ? 'belongs to another user'
    : status.kind === kind
      ? 'is open to others'
      : 'is something else';
  throw new PenstockError('HOST_IO', `${toDisplay(path)} ${why}`, { subject: path });
}
