/**
 * Every bound of Penstock by name (style rule 3); docs/limits.md lists them, kept equal by a test.
 * Sizes in bytes, times in milliseconds. Relations between limits are asserted at the end.
 */
import { assert } from './assert.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export const LIMITS = {
  /** Raw bytes of one block by default: the payload of one buffer. */
  blockRawBytesDefault: 2 * MIB,
  blockRawBytesMin: 64 * KIB,
  blockRawBytesMax: 16 * MIB,
  /** Blobs in one block. */
  blobsPerBlockMax: 4096,
  /** Room in front of a payload for the tag header with its special headers. */
  headerRoomBytes: 4096,
  /** A chunk is closed once it holds this many stored bytes. */
  chunkBytesDefault: 64 * MIB,
  blocksPerChunkMax: 65_536,
  /** A chunk is also closed once it holds this many blobs: it bounds footers and index segments. */
  blobsPerChunkMax: 65_536,
  /** Index segments larger than this are not merged with others any more. */
  indexMergeBytes: 12 * MIB,

  /** Files up to this size are one blob; larger ones are cut by content. */
  wholeFileBytesMax: 512 * KIB,
  cutBytesMin: 128 * KIB,
  cutBytesAverage: 512 * KIB,
  cutBytesMax: 1 * MIB,
  /** A large file is collected in regions of this size, each cut on its own. */
  regionBytes: 256 * MIB,

  /** Buffers of a pipe on one machine. */
  buffersMax: 4096,
  stagesMax: 64,
  instancesPerStageMax: 256,
  /** One more instance of a lazy stage is started for so many waiting buffers of each running one. */
  lazyBacklogBuffers: 2,
  /** How often the initiator looks whether buffers have passed a stage. */
  drainPollMs: 5,
  /** How long an instance may take to notice a control message or a stop. */
  stopNoticeMs: 2000,
  /** A process that is still there this long after its command has ended is ended by force. */
  exitGraceMs: 2000,
  /** Files and bytes of one batch that the walk hands to a collector. */
  batchFilesMax: 256,
  batchBytes: 8 * MIB,
  /** Batches handed out whose results are not yet back. */
  batchesInFlightMax: 128,

  nameBytesMax: 255,
  /** Components of a path in an archive. */
  depthMax: 32_768,
  linkTargetBytesMax: 64 * KIB,
  xattrNameBytesMax: 255,
  xattrValueBytesMax: 64 * KIB,
  /** All names and values of one entry: it must fit a leaf of the manifest. */
  xattrsPerEntryBytesMax: 768 * KIB,

  /** What is read of an ignore file. */
  ignoreFileBytesMax: 1 * MIB,

  /** Manifest leaves. */
  leafBytesMin: 32 * KIB,
  leafBytesAverage: 64 * KIB,
  leafBytesMax: 1 * MIB,
  nodeChildrenMin: 16,
  nodeChildrenAverage: 64,
  nodeChildrenMax: 256,
  manifestLevelsMax: 8,
  /** A file with more blobs than this has its content list stored as blobs. */
  contentListInlineMax: 256,
  contentListPerBlob: 1024,

  /** A small record (archive, key, map, lease, condemn) as a whole. */
  recordBytesMax: 64 * MIB,
  passphraseBytesMax: 4096,
  /** A person who mistypes a passphrase is asked this often. */
  passphraseAttemptsMax: 3,
  keySlotsMax: 64,
  keyLabelBytesMax: 256,
  archiveNameBytesMax: 1024,

  /** Index records kept in memory as a whole; beyond, pages are read on demand. */
  indexMemoryBytes: 48 * MIB,
  indexSegmentsMergeAbove: 12,

  /** A session's lease: beat and expiry. */
  leaseBeatMs: 20_000,
  leaseExpiryMs: 600_000,
  /** A partial archive is written this often. */
  checkpointMs: 60_000,
  /** A condemned chunk is kept at least this long where other sessions were alive. */
  condemnGraceMs: 900_000,
  /** A prune plans again so often when others merge the index or prune meanwhile. */
  prunePlanAttemptsMax: 3,
  /** Chunks below this part of a whole one count as small; more of a class than so many are merged. */
  smallChunkDivisor: 4,
  smallChunksMergeAbove: 16,
  /** Old chunks are condemned once so much of them was rewritten. */
  pruneBatchBytes: 512 * MIB,
} as const;

assert(LIMITS.cutBytesMin < LIMITS.cutBytesAverage, 'cutBytesMin < cutBytesAverage');
assert(LIMITS.cutBytesAverage < LIMITS.cutBytesMax, 'cutBytesAverage < cutBytesMax');
assert(LIMITS.cutBytesMax < LIMITS.blockRawBytesDefault, 'a blob fits a block');
assert(LIMITS.wholeFileBytesMax <= LIMITS.blockRawBytesDefault, 'a whole file fits a block');
assert(LIMITS.leafBytesMax <= LIMITS.blockRawBytesDefault, 'a manifest leaf fits a block');
assert(LIMITS.leaseBeatMs * 10 <= LIMITS.leaseExpiryMs, 'ten beats before a lease expires');
assert(LIMITS.blobsPerBlockMax <= LIMITS.blobsPerChunkMax, 'a block fits a chunk');
assert(LIMITS.regionBytes % LIMITS.blockRawBytesDefault === 0, 'a region is whole blocks');
