/**
 * What stands in the buffers of a backup's pipe, and in their words.
 *
 *   plan   walk → collect: the units of one batch (unit.ts)
 *   block  walk, collect → seal: blobs in the payload, their directory with names in the directory
 *          room (format/block.ts); seal → place: the sealed payload behind its tag header
 */
export const BUFFER_KIND = { plan: 1, block: 2 } as const;

/** Words of a buffer (PipeBuffer.word). */
export const WORD = {
  contentClass: 0,
  blobCount: 1,
  /** Bytes of the tag header, right-aligned against the payload. */
  headerBytes: 2,
  /** Duplicates discarded while the block was filled. */
  duplicateBlobs: 3,
  duplicateBytesLow: 4,
  rawBytes: 5,
} as const;

/** Progress counters of the backup's stages (ModuleContext.progress). */
export const COUNTER = {
  /** Bytes of files read. */
  bytesRead: 0,
  filesRead: 1,
  /** Entries seen by the walk. */
  entries: 2,
  /** Bytes of all files, read or taken over. */
  bytesSeen: 3,
  /** New blobs and their bytes. */
  blobsNew: 4,
  bytesNew: 5,
  blobsDuplicate: 6,
  bytesDuplicate: 7,
  /** Stored blocks and their bytes. */
  blocksStored: 8,
  bytesStored: 9,
  filesUnchanged: 10,
  filesSeen: 11,
  directories: 12,
  /** Links, devices, FIFOs, sockets. */
  others: 13,
  /** Files that a base has too, but that were read. */
  filesChanged: 14,
} as const;
