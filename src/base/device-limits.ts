/**
 * The bounds of tape drives and libraries and of what lies on the way to them; part of the table in limits.ts,
 * to which what is said there applies.
 */
const KIB = 1024;
const MIB = 1024 * KIB;

export const DEVICE_LIMITS = {
  /** How long a connection to an iSCSI target may take to come about. */
  iscsiConnectMs: 15_000,
  /** How long a login, or the answer to a question in text, may take. */
  iscsiLoginMs: 30_000,
  /** A target of which nothing is heard for this long, though it should answer, is asked for a sign of life. */
  iscsiPingMs: 10_000,
  /** It counts as lost when still nothing was heard after this long. */
  iscsiSilenceMs: 45_000,
  /** How long a target may take to take a command back, or to end a session. */
  iscsiEndMs: 10_000,
  /** How often a session looks at its time limits. */
  iscsiTickMs: 250,
  /** A drive whose connection broke is tried again for this long. */
  iscsiReconnectMs: 60_000,
  /** How long to wait before a target is tried again, at first. */
  iscsiRetryMinMs: 50,
  /** How long to wait before a target is tried again, at most. */
  iscsiRetryMaxMs: 2000,
  /** Messages of one login. */
  iscsiLoginRoundsMax: 32,
  /** How often a target may send a login to another address. */
  iscsiRedirectsMax: 4,
  /** Text of one login stage or answer. */
  iscsiTextBytesMax: 256 * KIB,
  /** A value of such text. */
  iscsiValueBytesMax: 8192,
  /** A secret of CHAP. */
  chapSecretBytesMax: 255,
  /** Data of one PDU that a target may send. */
  iscsiReceiveBytesMax: 1 * MIB,
  /** The same where it is neither read nor written: sense data, text, pings. */
  iscsiOtherBytesMax: 64 * KIB,
  /** Data that is sent for one request of the target. */
  iscsiBurstBytesMax: 16 * MIB - 1,
  /** Data that is sent unasked with a command. */
  iscsiFirstBurstBytesMax: 256 * KIB,
  /** Answers to pings that a target does not read. */
  iscsiUnsentBytesMax: 64 * MIB,
  /** How long a device may take for a command that moves nothing. */
  scsiCommandMs: 60_000,
  /** How long a drive may take to read or write a record, or to synchronise. */
  scsiTransferMs: 2_400_000,
  /** How long a drive may take to go somewhere on a tape, and a library to move one. */
  scsiPositionMs: 3_600_000,
  /** How long a drive may take to load a tape: new ones of some kinds are measured then. */
  scsiLoadMs: 7_800_000,
  /** How long a drive may take to become ready after a tape was put in. */
  scsiReadyMs: 7_800_000,
  /** How often it is asked. */
  scsiReadyPollMs: 500,
  /** How often a drive is asked whether a tape has come that somebody was asked for. */
  mountPollMs: 1000,
  /** The same of a library. */
  libraryPollMs: 3000,
  /** A request for a tape that the main thread takes later than this is written to standard error. */
  mountTellMs: 1000,
  /** A device that is busy is tried again for this long. */
  scsiBusyMs: 120_000,
  /** How long to wait before that. */
  scsiBusyRetryMs: 200,
  /** Messages about its state that a device may have before it carries out a command. */
  scsiAttentionsMax: 16,
  /** Places of a library. */
  libraryElementsMax: 16_384,
  /** The answer that tells of them. */
  libraryStatusBytesMax: 4 * MIB,
} as const;
