/**
 * The door of host/: the outside world behind ports.
 */
export type { Codec, KeyedHash } from './codec.ts';
export { DIGEST_BYTES, KEY_BYTES, openCodec, TAG_BYTES } from './codec.ts';
export type { Attribute, Clock, FileStatusFields, Files, Kind } from './files-only.ts';
export {
  CWD,
  checked,
  crc32cOf,
  crcOf,
  DirectoryListing,
  ERRNO,
  errnoName,
  errnoNumber,
  errnoText,
  FileStatus,
  ioError,
  KIND,
  NO_ATTRIBUTES,
  newListing,
  openClock,
  openFiles,
} from './files-only.ts';
export { hkdfSha256 } from './key-material.ts';
export { duplicateDescriptor, socketPair } from './native/descriptor.ts';
export { openKeyedHash } from './native/hash.ts';
export { keepMemorySmall } from './native/memory.ts';
export type { Random } from './random.ts';
export { openRandom, seededRandom } from './random.ts';
export type { ProcessIdentity, ProcessState, System } from './system.ts';
export { openSystem } from './system.ts';
