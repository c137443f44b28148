/**
 * Every bound of Penstock by name (style rule 3); docs/limits.md lists them, kept equal by a test.
 * Sizes in bytes, times in milliseconds. Relations between limits are asserted at the end.
 */
import { assert } from './assert.ts';
import { DEVICE_LIMITS } from './device-limits.ts';
import { MEDIA_LIMITS } from './media-limits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const LIMITS = {
  /** Raw bytes of one block by default: the payload of one buffer. */
  blockRawBytesDefault: 2 * MIB,
  /** The least that a block can be made to hold: more than the largest blob. */
  blockRawBytesMin: MIB + 4 * KIB,
  /** A block's raw bytes are whole pages. */
  blockRawBytesUnit: 4 * KIB,
  /** The most raw bytes of one block. */
  blockRawBytesMax: 16 * MIB,
  /** Blobs in one block. */
  blobsPerBlockMax: 4096,
  /** Room in front of a payload for the tag header with its special headers. */
  headerRoomBytes: 4096,
  /** A chunk is closed once it holds this many stored bytes. */
  chunkBytesDefault: 64 * MIB,
  /** Blocks in one chunk. */
  blocksPerChunkMax: 65_536,
  /** A chunk is also closed once it holds this many blobs: it bounds footers and index segments. */
  blobsPerChunkMax: 65_536,
  /** Index segments larger than this are not merged with others any more. */
  indexMergeBytes: 12 * MIB,

  /** Files up to this size are one blob; larger ones are cut by content. */
  wholeFileBytesMax: 512 * KIB,
  /** The least bytes of a blob that is cut by content, the last of a file excepted. */
  cutBytesMin: 128 * KIB,
  /** Average bytes of a blob that is cut by content. */
  cutBytesAverage: 512 * KIB,
  /** The most bytes of a blob that is cut by content. */
  cutBytesMax: 1 * MIB,
  /** A large file is collected in regions of this size, each cut on its own. */
  regionBytes: 256 * MIB,

  /** Buffers of a pipe on one machine. */
  buffersMax: 4096,
  /** Stages of a pipe. */
  stagesMax: 64,
  /** Instances of one stage on one machine. */
  instancesPerStageMax: 256,
  /** One more instance of a lazy stage is started for so many waiting buffers of each running one. */
  lazyBacklogBuffers: 2,
  /** How long the thread of an instance that is over may take to go, before it is ended. */
  threadExitMs: 500,
  /** Threads that a monitor keeps for the next pipe. */
  idleThreadsMax: 12,
  /** How long it keeps one that no pipe takes. */
  idleThreadMs: 300_000,
  /** How soon such a thread gives the memory of its last pipe back. */
  idleThreadLookMs: 1000,
  /** How often the initiator looks whether buffers have passed a stage. */
  drainPollMs: 5,
  /** How long an instance may take to notice a control message or a stop. */
  stopNoticeMs: 2000,
  /** A process that is still there this long after its command has ended is ended by force. */
  exitGraceMs: 2000,
  /** Files of one batch that the walk hands to a collector. */
  batchFilesMax: 256,
  /** Bytes of files in one batch. */
  batchBytes: 8 * MIB,
  /** Batches handed out whose results are not yet back. */
  batchesInFlightMax: 128,

  /** One name in a directory. */
  nameBytesMax: 255,
  /** Components of a path in an archive. */
  depthMax: 32_768,
  /** The target of a symbolic link. */
  linkTargetBytesMax: 64 * KIB,
  /** The name of an extended attribute. */
  xattrNameBytesMax: 255,
  /** The value of an extended attribute. */
  xattrValueBytesMax: 64 * KIB,
  /** All names and values of one entry: it must fit a leaf of the manifest. */
  xattrsPerEntryBytesMax: 768 * KIB,

  /** What is read of an ignore file. */
  ignoreFileBytesMax: 1 * MIB,

  /** The least bytes of a manifest leaf before it may be cut. */
  leafBytesMin: 32 * KIB,
  /** Average bytes of a manifest leaf. */
  leafBytesAverage: 64 * KIB,
  /** The most bytes of a manifest leaf. */
  leafBytesMax: 1 * MIB,
  /** The least children of an inner node of the manifest before it may be cut. */
  nodeChildrenMin: 16,
  /** Average children of an inner node. */
  nodeChildrenAverage: 64,
  /** The most children of an inner node. */
  nodeChildrenMax: 256,
  /** Levels of a manifest, leaves included. */
  manifestLevelsMax: 8,
  /** A file with more blobs than this has its content list stored as blobs. */
  contentListInlineMax: 256,
  /** Blobs named by one blob of such a list. */
  contentListPerBlob: 1024,

  /** A small record (archive, key, map, lease, condemn) as a whole. */
  recordBytesMax: 64 * MIB,
  /** Damaged blocks that one note tells of, and that a restore notes. */
  damageNoteBlocks: 64 * 1024,
  /** A passphrase. */
  passphraseBytesMax: 4096,
  /** A person who mistypes a passphrase is asked this often. */
  passphraseAttemptsMax: 3,
  /** Passphrases of a repository. */
  keySlotsMax: 64,
  /** What a passphrase is called. */
  keyLabelBytesMax: 256,
  /** The name of an archive. */
  archiveNameBytesMax: 1024,

  /** Index records kept in memory as a whole; beyond, pages are read on demand. */
  indexMemoryBytes: 48 * MIB,
  /** Index segments are merged when there are more than this many. */
  indexSegmentsMergeAbove: 12,

  /** How often a session renews its lease. */
  leaseBeatMs: 20_000,
  /** A session's lease without a beat for this long has run out. */
  leaseExpiryMs: 600_000,
  /** A partial archive is written this often. */
  checkpointMs: 60_000,
  /** A condemned chunk is kept at least this long where other sessions were alive. */
  condemnGraceMs: 900_000,
  /** A prune plans again so often when others merge the index or prune meanwhile. */
  prunePlanAttemptsMax: 3,
  /** Chunks of less than this part of a whole one count as small. */
  smallChunkDivisor: 4,
  /** More small chunks of one class than this are merged by a prune. */
  smallChunksMergeAbove: 16,
  /** Old chunks are condemned once so much of them was rewritten. */
  pruneBatchBytes: 512 * MIB,

  /** A file in the state folder: a key, a certificate, a paired machine. */
  stateFileBytesMax: 64 * KIB,
  /** Paired machines of one kind. */
  peersMax: 1024,
  /** The name of a paired machine, or of a repository that is served, in characters. */
  peerNameLengthMax: 64,
  /** Folders in which a paired machine may copy. */
  copyPathsMax: 64,
  /** Modules that a paired machine may name. */
  peerModulesMax: 64,
  /** How often a daemon looks whether machines with open connections are still paired. */
  peersPollMs: 500,
  /** A pairing token is good for so long. */
  pairTokenMs: 3_600_000,
  /** Pairing tokens that wait to be used. */
  pairTokensMax: 64,
  /** Attempts to pair from one address in a minute. */
  pairAttemptsMax: 10,
  /** Addresses whose attempts are counted at the same time. */
  pairAddressesMax: 4096,
  /** An attempt to pair that is refused is answered after this long. */
  pairRefusalMs: 250,
  /** The body of an attempt to pair. */
  pairBodyBytesMax: 4 * KIB,

  /** Connections to a daemon. */
  monitorConnectionsMax: 2048,
  /** Requests on one connection that are not answered yet. */
  monitorPipelinedMax: 8,
  /** Connections to a daemon from one address. */
  monitorAddressConnectionsMax: 512,
  /** Connections to a daemon of machines that are not paired, or not known to be yet. */
  monitorStrangersMax: 128,
  /** How long such a connection may last. */
  monitorStrangerMs: 30_000,
  /** How long a machine may take to say who it is. */
  monitorHandshakeMs: 10_000,
  /** How long the head of a request may take. */
  monitorHeadMs: 10_000,
  /** How long a whole request may take. */
  monitorRequestMs: 300_000,
  /** A connection on which nothing moves while it should is ended after this long. */
  monitorIdleMs: 120_000,
  /** A connection without a request is kept for so long. */
  monitorKeepMs: 60_000,
  /** The head of a request. */
  monitorHeadBytesMax: 16 * KIB,
  /** The body of a request, where its route does not say otherwise. */
  monitorBodyBytesMax: 256 * KIB,
  /** One message on a WebSocket. */
  monitorMessageBytesMax: 1 * MIB,
  /** How long a daemon that is told to end lets run what runs. */
  monitorDrainMs: 30_000,
  /** How long what is then stopped may take, before the daemon ends without it. */
  monitorStopMs: 10_000,

  /** How long a connection to another machine may take to come about. */
  apiConnectMs: 15_000,
  /** How long an answer, or its next part, may take. */
  apiAnswerMs: 120_000,
  /** An answer, where the caller does not say otherwise. */
  apiAnswerBytesMax: 64 * MIB,
  /** Connections of one client that it keeps for further requests. */
  apiConnectionsKept: 8,

  /** Listings of copies' targets that a daemon keeps. */
  copyListingsMax: 64,
  /** Those of one machine; one more lets the oldest go. */
  copyListingsPeerMax: 16,
  /** Bytes of such a listing, some hundred for an entry. */
  copyListingBytesMax: 16 * GIB,
  /** How long such a listing is kept. */
  copyListingMs: 3_600_000,
  /** How long once a copy has begun with it. */
  copyListingTakenMs: 60_000,
  /** Owners whose names a copy tells the other machine. */
  copyOwnersMax: 8192,
  /** Ranges that are kept of a large file of which a part has arrived; of more, the longest. */
  copyPartRangesMax: 4096,

  /** Objects of a kind that one answer lists. */
  listPageObjects: 10_000,
  /** Objects in all lists that a server keeps for the pages that follow; longer ones are read again for each. */
  listingObjectsMax: 2_000_000,
  /** How long it keeps one for the next page. */
  listingKeptMs: 60_000,
  /** How often a server measures a repository for a quota, at most. */
  quotaMeasureMs: 10_000,
  /** How far beyond a quota leases may go. */
  quotaLeaseBytes: 1024 * 1024,
  /** Such an answer. */
  listPageBytesMax: 16 * MIB,
  /** An index segment. */
  indexSegmentBytesMax: 2 * 1024 * MIB,
  /** A chunk that a server takes. */
  chunkSentBytesMax: 64 * GIB,
  /** One part of a chunk on its way to a server. */
  chunkPartBytesMax: 4 * MIB,
  /** Leases and pending records of which a server remembers who put them, besides their attributes. */
  ownersMax: 65_536,
  /** What a server reads of a file at a time to send it. */
  fileSendBytes: 128 * KIB,
  /** Pieces of memory for that which are kept to be used again. */
  fileSendBuffersMax: 16,

  /** Connections that carry data to another machine (agents), at least, where none are asked for. */
  agentsLeast: 2,
  /** The same, at most, over a short way. */
  agentsShortMax: 4,
  /** The same over a long way. */
  agentsDefaultMax: 8,
  /** Connections that can be asked for. */
  agentsMax: 64,
  /** Pieces of memory for parts of chunks, besides two for each connection. */
  netSlotsLeast: 12,
  /** One such piece: a sealed block, in most cases. */
  netSlotBytes: 2 * MIB + 64 * KIB,
  /** What is given to a connection at a time. */
  netSendBytes: 128 * KIB,
  /** Parts are not made smaller than this to keep a rate. */
  netPartBytesLeast: 32 * KIB,
  /** Parts that are fetched ahead of who reads a chunk in order. */
  callReadAhead: 4,
  /** A server at work says so this often. */
  netBeatMs: 2000,
  /** A connection on which nothing moves for this long counts as broken. */
  netIdleMs: 20_000,
  /** First wait before a request is sent again; it doubles each time. */
  netRetryMs: 50,
  /** Longest wait before a request is sent again. */
  netRetryMsMax: 2000,
  /** A server that is away is waited for this long, unless --reconnect-limit says otherwise. */
  netReconnectMs: 60_000,
  /** The same once the command was interrupted. */
  netHurryMs: 2000,
  /** How often whoever waits for another thread looks whether it is there. */
  callWaitMs: 1000,
  /** It counts as gone after so many looks without a sign of life. */
  callSilentWaitsMax: 30,
  /** Of an error's message, where a call between threads is answered with it. */
  callMessageLengthMax: 400,
  /** An answer that is an error, or has nothing to say. */
  apiErrorBytesMax: 64 * KIB,
  /** What is shown of a server's message. */
  netMessageLengthMax: 400,

  /** Agents (threads) of one pipe on one machine. */
  pipeAgentsMax: 64,
  /** Data connections of one agent. */
  linksPerAgentMax: 16,
  /** How long a data connection may take from its first byte until it may carry data. */
  linkSetupMs: 10_000,
  /** Data connections to one agent that are being set up; when one more comes the oldest is ended. */
  linkSetupsMax: 64,
  /** A data connection on which nothing is sent says so this often. */
  linkBeatMs: 1000,
  /** A data connection that is read and brings nothing for this long is given up. */
  linkSilenceMs: 5000,
  /** How long to wait before a broken data connection is made again, at first. */
  linkRetryMinMs: 50,
  /** How long to wait before it is tried again, at most. */
  linkRetryMaxMs: 2000,
  /** An agent without any data connection for this long gives up. */
  linksLostMs: 30_000,
  /** How long an agent that has all stays, so that the other one surely learns it. */
  linksLingerMs: 2000,
  /** Connections that several pipes share between two machines. */
  sharedLinksMax: 8,
  /** Agents' connections that one of them carries. */
  sharedStreamsMax: 32,
  /** Bytes of one of these that wait to be taken on either side. */
  sharedStreamBytes: MIB,
  /** Attempts to connect of one agent; each has a token of its own. */
  linkAttemptsMax: 1_000_000,
  /** Bytes of a data connection that one key encrypts. TLS 1.3 allows AES-GCM about 380 GB (RFC 8446, 5.5). */
  linkKeyBytes: 64 * GIB,
  /** Bytes that are read from a data connection at once. */
  linkReadBytes: 64 * KIB,
  /** Bytes that are handed to a data connection at once. */
  linkWriteBytes: 256 * KIB,
  /** Time without sending that a limit of bytes per second makes up for. */
  rateBurstMs: 100,
  /** How long a connection to the data port may take to say what it is for. */
  preambleMs: 5000,
  /** Connections to the data port that have not said what they are for. */
  preamblesPendingMax: 128,
  /** How often the two halves of a pipe tell each other that they are there. */
  pipeBeatMs: 1000,
  /** A half of which nothing is heard for this long is taken for dead. */
  pipeSilenceMs: 5000,
  /** Control messages of a pipe that wait to be looked at. */
  pipeMessagesEarlyMax: 256,
  /** Bytes of these. */
  pipeEarlyBytesMax: 4 * MIB,
  /** Control messages of a machine that modules of another one have not answered. */
  pipeControlsMax: 16,
  /** Safe points that the head is being told of; of further ones the last counts. */
  pipeSafePointsMax: 16,
  /** What is sent on a pipe's control channel and was not read by the other side. */
  pipeUnreadBytesMax: 16 * MIB,
  /** Pipes that run on one monitor. */
  pipesMax: 64,
  /** Threads of all of them. */
  pipesThreadsMax: 1024,
  /** Memory of all their segments, where `penstock serve --memory` does not say otherwise. */
  pipesBytesDefault: 1024 * MIB,
  /** One machine may have one part in so many of either. */
  pipesOwnerPart: 2,
  /** Pipes that wait for their turn on one monitor. */
  pipesWaitingMax: 64,
  /** Pipes of one machine that wait. */
  pipesOwnerWaitingMax: 16,
  /** How long a pipe of this machine waits in the queue of another one while it has a turn here. */
  pipeQueueMs: 600_000,
  /** Machines of one pipe. */
  pipeMachinesMax: 8,
  /** Machines that a paired one may reach through this one. */
  peerOnwardMax: 64,
  /** The name of a machine. */
  hostNameLengthMax: 255,
  /** Stages of a half that another machine asks for. */
  farStagesMax: 16,
  /** Modules of one of its stages. */
  farModulesMax: 8,
  /** The data port is the monitor's port and this, where that is free. */
  dataPortOffset: 2,
  /** A message between a command and the monitor of its state folder. */
  localMessageBytesMax: 16 * MIB,
  /** How long an unbound module waits for a program, where its pipe does not say otherwise. */
  programWaitMs: 600_000,
  /** The longest that can be asked for. */
  programWaitMsMax: 7 * 24 * 3_600_000,
  /** A socket of a pipe that nobody listens on is cleared away when it is older than this. */
  attachStaleMs: 10_000,
  /** How often a program that waits for its pipe looks for it. */
  attachPollMs: 100,
  /** How long a program that attaches may take to say who it is, and to connect for its data. */
  programIdentMs: 5000,
  /** A message between such a program and the process that runs the pipe. */
  programMessageBytesMax: 8 * KIB,
  /** Connections of programs to one pipe. */
  programConnectionsMax: 64,
  /** One frame of data between them. */
  programFrameBytesMax: 16 * MIB,
  /** What a program that fails says of it. */
  programTextBytesMax: 2000,
  /** What is read of a program at a time. */
  programReadBytes: 256 * KIB,
  /** What a program that is gone may have left in its connection. */
  programRestBytesMax: 16 * MIB,
  /** A buffer that is not full leaves when a program sends nothing more for this long. */
  programIdleMs: 10,
  /** How long a program may take to hear how its pipe ended. */
  programEndMs: 5000,
  /** How often a command that runs a pipe looks for a monitor to tell it to. */
  announceRetryMs: 2000,
  /** How long a command that runs a pipe may take to stop it when it is asked to. */
  commandStopMs: 6000,
  /** How often the rates of pipes are taken. */
  pipeRateMs: 1000,

  ...MEDIA_LIMITS,
  ...DEVICE_LIMITS,
} as const;

assert(LIMITS.cutBytesMin < LIMITS.cutBytesAverage, 'cutBytesMin < cutBytesAverage');
assert(LIMITS.cutBytesAverage < LIMITS.cutBytesMax, 'cutBytesAverage < cutBytesMax');
assert(LIMITS.cutBytesMax < LIMITS.blockRawBytesMin, 'a blob fits a block');
assert(LIMITS.wholeFileBytesMax <= LIMITS.blockRawBytesDefault, 'a whole file fits a block');
assert(LIMITS.leafBytesMax <= LIMITS.blockRawBytesDefault, 'a manifest leaf fits a block');
assert(LIMITS.leaseBeatMs * 10 <= LIMITS.leaseExpiryMs, 'ten beats before a lease expires');
assert(LIMITS.blobsPerBlockMax <= LIMITS.blobsPerChunkMax, 'a block fits a chunk');
assert(LIMITS.regionBytes % LIMITS.blockRawBytesDefault === 0, 'a region is whole blocks');
assert(LIMITS.monitorStrangersMax < LIMITS.monitorConnectionsMax, 'strangers leave room for peers');
assert(
  LIMITS.monitorAddressConnectionsMax < LIMITS.monitorConnectionsMax,
  'one address leaves room for others',
);
assert(LIMITS.netSlotBytes <= LIMITS.chunkPartBytesMax, 'a part is taken');
assert(LIMITS.netPartBytesLeast <= LIMITS.netSlotBytes, 'a part fits its memory');
assert(LIMITS.agentsLeast <= LIMITS.agentsShortMax, 'agentsLeast <= agentsShortMax');
assert(LIMITS.agentsShortMax <= LIMITS.agentsDefaultMax, 'agentsShortMax <= agentsDefaultMax');
assert(LIMITS.agentsDefaultMax <= LIMITS.linksPerAgentMax, 'one agent has them all');
