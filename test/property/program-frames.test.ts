/**
 * The frames between a pipe and a program that is attached to it.
 *
 * Goal: however the bytes are cut on their way, and however little of them finds room at a time, what was
 * sent comes out, once and in order; altered bytes are refused or change nothing but data.
 * Method: random frames, cut at random places, given to a reader that takes random amounts.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../../src/base/errors.ts';
import {
  PROGRAM_FRAME,
  PROGRAM_FRAME_BYTES,
  ProgramFrameReader,
  shortProgramFrame,
  writeProgramFrame,
} from '../../src/channel/local/program-frame.ts';

const dataFrame = (bytes: Uint8Array): Buffer =>
  Buffer.concat([
    writeProgramFrame(Buffer.alloc(PROGRAM_FRAME_BYTES), PROGRAM_FRAME.data, bytes.length),
    bytes,
  ]);

interface Told {
  readonly data: Buffer[];
  readonly ends: string[];
}

/** Reads a stream in pieces; `room(n)` says how many of n bytes are taken at a time. */
function read(stream: Buffer, cuts: readonly number[], room: (most: number) => number): Told {
  const told: Told = { data: [], ends: [] };
  const reader = new ProgramFrameReader({
    data: (memory, from, to) => {
      const taken = room(to - from);
      told.data.push(Buffer.from(memory.subarray(from, from + taken)));
      return taken;
    },
    end: () => void told.ends.push('end'),
    taken: () => void told.ends.push('taken'),
    failure: (text) => void told.ends.push(`failure ${text}`),
  });
  const places = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...places, stream.length]) {
    const piece = Buffer.from(stream.subarray(from, to));
    let at = 0;
    while (at < piece.length) at = reader.parse(piece, at, piece.length);
    from = to;
  }
  return told;
}

test('what was sent comes out, however it is cut and taken', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 }),
      fc.array(fc.nat(5000), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }),
      fc.option(fc.string({ maxLength: 100 })),
      (pieces, cuts, rooms, failure) => {
        const last =
          failure === null
            ? shortProgramFrame(PROGRAM_FRAME.end)
            : shortProgramFrame(PROGRAM_FRAME.failure, failure);
        const first = shortProgramFrame(PROGRAM_FRAME.taken);
        const stream = Buffer.concat([first, ...pieces.map(dataFrame), last]);
        let asked = 0;
        // Now and then there is none.
        const room = (most: number): number =>
          ++asked % 3 === 0 ? 0 : Math.min(most, rooms[asked % rooms.length] ?? 1);
        const told = read(stream, cuts, room);
        deepEqual(Buffer.concat(told.data), Buffer.concat(pieces));
        const text = Buffer.from(failure ?? '', 'utf8').toString('utf8');
        deepEqual(told.ends, ['taken', failure === null ? 'end' : `failure ${text}`]);
      },
    ),
    { numRuns: 200 },
  );
});

test('a header that is no header is refused before anything is taken', () => {
  const right = dataFrame(Buffer.from('data'));
  const wrong = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(64, 0xff),
    Buffer.alloc(64),
    // Longer than a frame may be.
    writeProgramFrame(Buffer.alloc(8), PROGRAM_FRAME.data, 0xffff_ffff),
    writeProgramFrame(Buffer.alloc(8), PROGRAM_FRAME.failure, 0x7fff_ffff),
    writeProgramFrame(Buffer.alloc(8), PROGRAM_FRAME.end, 1),
    writeProgramFrame(Buffer.alloc(8), 9, 0),
    // Something behind the end.
    Buffer.concat([shortProgramFrame(PROGRAM_FRAME.end), right]),
    Buffer.concat([shortProgramFrame(PROGRAM_FRAME.failure, 'x'), right]),
  ];
  for (const bytes of wrong) {
    for (const cuts of [[], [1, 3, 7, 9]]) {
      let thrown: unknown;
      try {
        read(bytes, cuts, (most) => most);
      } catch (error) {
        thrown = error;
      }
      ok(thrown instanceof PenstockError && thrown.code === 'PROGRAM_LOST', String(thrown));
    }
  }
});

test('flipped bits of a header never make more data than was sent', () => {
  fc.assert(
    fc.property(fc.nat(63), fc.uint8Array({ minLength: 1, maxLength: 50 }), (bit, bytes) => {
      const stream = Buffer.concat([dataFrame(bytes), shortProgramFrame(PROGRAM_FRAME.end)]);
      const at = bit >> 3;
      stream[at] = (stream[at] as number) ^ (1 << (bit & 7));
      let told: Told | undefined;
      try {
        told = read(stream, [], (most) => most);
      } catch (thrown) {
        ok(thrown instanceof PenstockError);
        return;
      }
      ok(Buffer.concat(told.data).length <= stream.length);
      // Where it was not refused, its end is missing: the connection's end is then no proper one.
      equal(told.ends.includes('end') && Buffer.concat(told.data).length > bytes.length, false);
    }),
    { numRuns: 300 },
  );
});
