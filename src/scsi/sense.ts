/**
 * Sense data (SPC-5, 4.4) in both forms, turned into what it means for a tape or a library.
 *
 *   fixed (70h now, 71h of an earlier command)      descriptors (72h, 73h)
 *    0  bit 7: information is valid; code            0  code
 *    2  file mark, EOM, ILI; bits 3–0: key           1  bits 3–0: key
 *    3  information                     4            2  additional code, qualifier
 *    7  bytes that follow               u8           7  bytes that follow
 *   12  additional code, qualifier                   8  descriptors: type, bytes, …
 *                                                       00h information 8; 04h stream: flags
 *
 * Contract: whatever the bytes are the result is a Sense; what is missing counts as zero. Numbers that no
 * device sends in earnest (information beyond 2^53) are left out.
 */

export const SENSE_KEY = {
  none: 0x0,
  recovered: 0x1,
  notReady: 0x2,
  mediumError: 0x3,
  hardwareError: 0x4,
  illegalRequest: 0x5,
  unitAttention: 0x6,
  dataProtect: 0x7,
  blankCheck: 0x8,
  vendor: 0x9,
  copyAborted: 0xa,
  abortedCommand: 0xb,
  volumeOverflow: 0xd,
  miscompare: 0xe,
} as const;

export interface Sense {
  readonly key: number;
  readonly code: number;
  readonly qualifier: number;
  readonly fileMark: boolean;
  /** End of medium: with `key` none, the early warning of a write; otherwise the end or the beginning. */
  readonly endOfMedium: boolean;
  readonly incorrectLength: boolean;
  /** It concerns an earlier command, whose data had been taken into the drive's buffer. */
  readonly deferred: boolean;
  /** Signed: what was asked for less what was done. */
  readonly information: number | undefined;
}

/** What a device says in one word; `unknown` is what no rule is known for. */
export type SenseKind =
  | 'nothing'
  | 'recovered'
  | 'file-mark'
  | 'early-warning'
  | 'end-of-medium'
  | 'end-of-data'
  | 'beginning-of-medium'
  | 'incorrect-length'
  | 'overflow'
  | 'becoming-ready'
  | 'no-medium'
  | 'not-ready'
  | 'medium-changed'
  | 'reset'
  | 'attention'
  | 'write-protected'
  | 'medium-error'
  | 'hardware-error'
  | 'not-supported'
  | 'illegal-request'
  | 'aborted'
  | 'unknown';

const NOTHING: Sense = {
  key: 0,
  code: 0,
  qualifier: 0,
  fileMark: false,
  endOfMedium: false,
  incorrectLength: false,
  deferred: false,
  information: undefined,
};

export function decodeSense(bytes: Buffer): Sense {
  const code = byteAt(bytes, 0) & 0x7f;
  if (code === 0x72 || code === 0x73) return decodeDescriptors(bytes, code === 0x73);
  if (code !== 0x70 && code !== 0x71) return NOTHING;
  const flags = byteAt(bytes, 2);
  const isValid = (byteAt(bytes, 0) & 0x80) !== 0 && bytes.length >= 7;
  return {
    key: flags & 0x0f,
    ...flagsOf(flags),
    code: byteAt(bytes, 12),
    qualifier: byteAt(bytes, 13),
    deferred: code === 0x71,
    information: isValid ? bytes.readInt32BE(3) : undefined,
  };
}

function decodeDescriptors(bytes: Buffer, deferred: boolean): Sense {
  const end = Math.min(bytes.length, 8 + byteAt(bytes, 7));
  let information: number | undefined;
  let flags = 0;
  for (let at = 8; at + 2 <= end; at += 2 + byteAt(bytes, at + 1)) {
    const type = byteAt(bytes, at);
    if (type === 0x00 && at + 12 <= end && (byteAt(bytes, at + 2) & 0x80) !== 0) {
      const value = Number(bytes.readBigInt64BE(at + 4));
      if (Number.isSafeInteger(value)) information = signed(value);
    }
    if (type === 0x04 && at + 4 <= end) flags = byteAt(bytes, at + 3);
  }
  return {
    key: byteAt(bytes, 1) & 0x0f,
    ...flagsOf(flags),
    code: byteAt(bytes, 2),
    qualifier: byteAt(bytes, 3),
    deferred,
    information,
  };
}

/** Devices that count in 32 bits fill the upper ones with zeros. */
function signed(value: number): number {
  return value >= 0x8000_0000 && value <= 0xffff_ffff ? value - 2 ** 32 : value;
}

function flagsOf(flags: number): Pick<Sense, 'fileMark' | 'endOfMedium' | 'incorrectLength'> {
  return {
    fileMark: (flags & 0x80) !== 0,
    endOfMedium: (flags & 0x40) !== 0,
    incorrectLength: (flags & 0x20) !== 0,
  };
}

function byteAt(bytes: Buffer, at: number): number {
  return bytes[at] ?? 0;
}

/** What it means. The order matters: a file mark is one also where EOM is set beside it. */
export function senseKind(sense: Sense): SenseKind {
  const { key, code, qualifier } = sense;
  switch (key) {
    case SENSE_KEY.none:
    case SENSE_KEY.recovered:
      return progressKind(sense);
    case SENSE_KEY.blankCheck:
      return 'end-of-data';
    case SENSE_KEY.volumeOverflow:
      return 'overflow';
    case SENSE_KEY.notReady:
      if (code === 0x3a) return 'no-medium';
      return code === 0x04 && isBecomingReady(qualifier) ? 'becoming-ready' : 'not-ready';
    case SENSE_KEY.unitAttention:
      if (code === 0x28 || code === 0x3a) return 'medium-changed';
      return code === 0x29 ? 'reset' : 'attention';
    case SENSE_KEY.dataProtect:
      return 'write-protected';
    case SENSE_KEY.mediumError:
      // An end where none should be: a tape that was never written, or whose end was lost.
      return code === 0x00 && qualifier === 0x05 ? 'end-of-data' : 'medium-error';
    case SENSE_KEY.hardwareError:
      return 'hardware-error';
    case SENSE_KEY.illegalRequest:
      return code === 0x20 ? 'not-supported' : 'illegal-request';
    case SENSE_KEY.abortedCommand:
      return 'aborted';
    default:
      return 'unknown';
  }
}

function progressKind(sense: Sense): SenseKind {
  const { code, qualifier, fileMark, incorrectLength, endOfMedium } = sense;
  if (fileMark || (code === 0x00 && qualifier === 0x01)) return 'file-mark';
  if (code === 0x00 && qualifier === 0x05) return 'end-of-data';
  if (code === 0x00 && qualifier === 0x04) return 'beginning-of-medium';
  if (incorrectLength) return 'incorrect-length';
  if (endOfMedium) return code === 0x00 && qualifier === 0x02 ? 'end-of-medium' : 'early-warning';
  return sense.key === SENSE_KEY.recovered ? 'recovered' : 'nothing';
}

/** 04/01 becoming ready, 04/02 start it first, 04/07 operation in progress, … */
function isBecomingReady(qualifier: number): boolean {
  return qualifier === 0x01 || qualifier === 0x07 || qualifier === 0x0a;
}

const TEXTS: Readonly<Record<SenseKind, string>> = {
  nothing: 'no reason given',
  recovered: 'done with the help of error correction',
  'file-mark': 'a file mark',
  'early-warning': 'only little room is left',
  'end-of-medium': 'the end of the medium',
  'end-of-data': 'the end of data',
  'beginning-of-medium': 'the beginning of the medium',
  'incorrect-length': 'a record of another length',
  overflow: 'the medium is full',
  'becoming-ready': 'it is becoming ready',
  'no-medium': 'there is no medium',
  'not-ready': 'it is not ready',
  'medium-changed': 'the medium may have been changed',
  reset: 'it was reset',
  attention: 'its state has changed',
  'write-protected': 'the medium is write-protected',
  'medium-error': 'the medium cannot be read or written here',
  'hardware-error': 'the hardware failed',
  'not-supported': 'it does not know this command',
  'illegal-request': 'the command is not allowed',
  aborted: 'the command was aborted',
  unknown: 'an answer that has no rule',
};

/** For people: what it means, and the numbers for the drive's manual. */
export function senseText(sense: Sense): string {
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const numbers = `sense ${hex(sense.key)}/${hex(sense.code)}/${hex(sense.qualifier)}`;
  return `${TEXTS[senseKind(sense)]} (${sense.deferred ? 'an earlier command, ' : ''}${numbers})`;
}
