/**
 * The frames between a program that is attached to a pipe and the thread that acts for it.
 *
 *     offset  bytes  what
 *          0      2  magic, 0x5041
 *          2      1  kind: 1 data, 2 end, 3 failure, 4 taken
 *          3      1  zero
 *          4      4  bytes that follow
 *
 * Integers are little-endian. `taken` is the first frame, from the thread; before it the program sends none. Data are bytes of one stream, which frames divide as they please. `end` follows
 * the last of them; from who takes the data it says that all was taken. A failure is a text, and ends the
 * pipe. A frame that is none of these is refused before anything of it is used.
 */
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';

export const PROGRAM_FRAME = { data: 1, end: 2, failure: 3, taken: 4 } as const;
export const PROGRAM_FRAME_BYTES = 8;
const MAGIC = 0x5041;

/** Writes the header of a frame. */
export function writeProgramFrame(into: Buffer, kind: number, lengthBytes: number): Buffer {
  into.writeUInt16LE(MAGIC, 0);
  into[2] = kind;
  into[3] = 0;
  into.writeUInt32LE(lengthBytes, 4);
  return into;
}

/** A whole frame without data: an end, or a failure with its text. */
export function shortProgramFrame(kind: number, text = ''): Buffer {
  const bytes = Buffer.from(text, 'utf8').subarray(0, LIMITS.programTextBytesMax);
  const header = writeProgramFrame(Buffer.alloc(PROGRAM_FRAME_BYTES), kind, bytes.length);
  return Buffer.concat([header, bytes]);
}

/** What a reader tells; payload may be taken partly: what is left is told again. */
export interface ProgramFrameEvents {
  /** Bytes of data, valid until it returns. Returns how many were taken; fewer: `parse` stops there. */
  data(memory: Buffer, from: number, to: number): number;
  end(): void;
  taken(): void;
  failure(text: string): void;
}

/** Takes frames apart as they come, in pieces of any size. */
export class ProgramFrameReader {
  readonly #events: ProgramFrameEvents;
  readonly #header: Buffer = Buffer.alloc(PROGRAM_FRAME_BYTES);
  #headerBytes = 0;
  #dataLeft = 0;
  readonly #text: Buffer[] = [];
  #textLeft = 0;
  #ended = false;

  constructor(events: ProgramFrameEvents) {
    this.#events = events;
  }

  /** Looks at the bytes; returns up to where they were taken. Throws PROGRAM_LOST. */
  parse(memory: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to) {
      if (this.#dataLeft > 0) {
        const most = Math.min(to, at + this.#dataLeft);
        const taken = this.#events.data(memory, at, most);
        this.#dataLeft -= taken;
        at += taken;
        if (at < most) return at;
      } else if (this.#textLeft > 0) at = this.#takeText(memory, at, to);
      else at = this.#takeHeader(memory, at, to);
    }
    return at;
  }

  /** Whether the end is among these bytes, which come next; nothing is taken. */
  endsIn(bytes: Buffer): boolean {
    let found = false;
    const ahead = new ProgramFrameReader({
      data: (_memory, from, to) => to - from,
      end: () => {
        found = true;
      },
      failure: () => undefined,
      taken: () => undefined,
    });
    this.#header.copy(ahead.#header);
    ahead.#headerBytes = this.#headerBytes;
    ahead.#dataLeft = this.#dataLeft;
    ahead.#textLeft = this.#textLeft;
    try {
      ahead.parse(bytes, 0, bytes.length);
    } catch {
      // What comes behind is no concern of this.
    }
    return found;
  }

  #takeText(memory: Buffer, from: number, to: number): number {
    const end = Math.min(to, from + this.#textLeft);
    // The memory is used again.
    this.#text.push(Buffer.from(memory.subarray(from, end)));
    this.#textLeft -= end - from;
    if (this.#textLeft === 0) this.#events.failure(Buffer.concat(this.#text).toString('utf8'));
    return end;
  }

  #takeHeader(memory: Buffer, from: number, to: number): number {
    const header = this.#header;
    const end = Math.min(to, from + PROGRAM_FRAME_BYTES - this.#headerBytes);
    memory.copy(header, this.#headerBytes, from, end);
    this.#headerBytes += end - from;
    if (this.#headerBytes < PROGRAM_FRAME_BYTES) return end;
    this.#headerBytes = 0;
    const length = header.readUInt32LE(4);
    const kind = header.readUInt16LE(0) === MAGIC && header[3] === 0 ? header[2] : 0;
    if (this.#ended) refuse('something after its end');
    if (kind === PROGRAM_FRAME.data && length <= LIMITS.programFrameBytesMax) {
      this.#dataLeft = length;
    } else if (kind === PROGRAM_FRAME.end && length === 0) {
      this.#ended = true;
      this.#events.end();
    } else if (kind === PROGRAM_FRAME.taken && length === 0) {
      this.#events.taken();
    } else if (kind === PROGRAM_FRAME.failure && length <= LIMITS.programTextBytesMax) {
      this.#ended = true;
      this.#textLeft = length;
      if (length === 0) this.#events.failure('');
    } else refuse('what is no frame');
    return end;
  }
}

function refuse(what: string): never {
  throw new PenstockError('PROGRAM_LOST', `sent ${what}`);
}
