/**
 * Bounds of volumes and of the writing and reading of them; part of the table in limits.ts.
 */
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const MEDIA_LIMITS = {
  /** One record of a tape image: what the standard subset of the format has. */
  tapeImageRecordBytesMax: 16 * MIB - 1,
  /** Records of a tape image up to this size are written with their lengths at once. */
  tapeImageWriteBytes: 128 * KIB,
  /** A label of a volume, with the key records that it carries. */
  volumeLabelBytesMax: 1 * MIB,
  /** A run in a write log ends when it has so many bytes. */
  logRunBytes: 64 * MIB,
  /** Findings of one kind in a volume that are told one by one; more are counted. */
  volumeFindingsMax: 100,
  /** An identifier of a write log. */
  logIdCharactersMax: 64,
  /** One page of a volume's write log. */
  logPageBytes: 60 * KIB,
  /** Pages of write logs that were written and are not synchronised: the drive may lose them. */
  volumeLogUnsafeBytesMax: 8 * MIB,
  /** One record of the index of a volume's sessions. */
  volumeIndexBytesMax: 1 * MIB,
  /** All records of an index. */
  volumeIndexAllBytesMax: 64 * MIB,
  /** Faults of a drive in a row after which a writer gives up. */
  volumeFaultsMax: 3,
  /** Memory of the buffers between streams and a drive. */
  volumeBufferBytes: 64 * MIB,
  /** So many at least, unless their memory is given: for eight streams and what is kept. */
  volumeBuffersLeast: 24,
  /** A drive is told to synchronise after so many bytes. */
  volumeSyncBytes: 2 * 1024 * MIB,
  /** A drive is told to synchronise after so long. */
  volumeSyncMs: 60_000,
  /** A tape drive that ran dry begins again when its buffers are filled to so many percent, unless a pool says otherwise. */
  tapeStartPercent: 50,
  /** At the latest so long after the first record came. */
  volumeStartMs: 5000,
  /** Damaged objects of a volume that are listed one by one; more are only counted. */
  scanDamagedMax: 100_000,
  /** Chunks without an end whose parts are counted while a volume is read by headers. */
  scanChunksMax: 4096,
  /** Of each of them parts that are no blocks, and may have been written twice. */
  scanPartsMax: 4096,
  /** Records between two wanted ones that are spaced over; more are located. */
  volumeSpaceRecords: 64,
  /** Pieces of memory in which records are handed to a drive. */
  driveSlots: 12,
  /** So many of them are never used for writing. */
  driveSlotsLeast: 4,
  /** Records that were read from volumes last, and may be wanted again. */
  driveHeldBytes: 32 * MIB,
  /** Buffers between streams and a drive: two streams, and what is kept. */
  driveBuffersLeast: 6,
  /** Of one backup, so many chunks that were ended may wait for the drive to synchronise. */
  chunksEndedMax: 16,
  /** A volume holds at least this, besides a few blocks. */
  volumeBytesMin: MIB,
  /** Volumes of a pool that one command writes at once. */
  poolDrivesMax: 16,
  /** Tapes of a library that are tried for a new volume. */
  volumesTriedMax: 64,
  /** What volumes hold whose pool is known from their labels only, unless one holds more. */
  volumeBytesDefault: 2 * GIB,
  /** A chunk on volumes ends at this size at the latest. */
  volumeChunkBytesMax: 64 * GIB,
  /** A chunk on volumes is ended once it holds so much, unless its pool says otherwise. */
  volumeChunkBytesDefault: GIB,
  /** Chunks that wait in a file between two tapes of one drive, unless one has more. */
  migrateStageBytes: 16 * GIB,
  /** A tape image warns of its end when so much is left, unless a 64th is less. */
  volumeEarlyWarningBytes: 256 * MIB,
} as const;
