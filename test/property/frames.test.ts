/**
 * The bytes between agents.
 *
 * Goal: what is written is read back, however the bytes are cut; nothing else is taken for a frame or a
 * preamble, and no length is believed that is out of bounds.
 * Method: random frames; every single bit flipped; random bytes.
 */
import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  FRAME_BYTES,
  FRAME_KIND,
  type Frame,
  newFrame,
  PREAMBLE_BYTES,
  readFrame,
  readPreamble,
  tokenOf,
  writeFrame,
  writePreamble,
} from '../../src/channel/net/frame.ts';
import { FrameReader } from '../../src/channel/net/frame-reader.ts';
import { type LinkCipher, openLinkCipher } from '../../src/channel/net/link-cipher.ts';
import { reserve, shareRate } from '../../src/channel/net/rate-limit.ts';
import { PipeBuffer } from '../../src/pipe/mod.ts';
import { createSegment } from '../../src/pipe/segment.ts';
import { sealed } from '../agent-pair.ts';

const BOUNDS = { headerBytes: 4096, payloadBytes: 8192, directoryBytes: 4096 };
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const number53 = fc.nat(Number.MAX_SAFE_INTEGER);

const frameArbitrary: fc.Arbitrary<Frame> = fc
  .record({
    kind: fc.integer({ min: 1, max: 6 }),
    headerBytes: fc.nat(BOUNDS.headerBytes),
    sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    payloadBytes: fc.nat(BOUNDS.payloadBytes),
    directoryBytes: fc.nat(BOUNDS.directoryBytes),
    bufferKind: u32,
    words: fc.array(u32, { minLength: 6, maxLength: 6 }).map((words) => Uint32Array.from(words)),
    mark: number53,
  })
  .map((frame) =>
    frame.kind === FRAME_KIND.data
      ? frame
      : { ...frame, headerBytes: 0, payloadBytes: 0, directoryBytes: 0 },
  );

function bytesOf(frame: Frame): Buffer {
  const bytes = Buffer.alloc(FRAME_BYTES);
  writeFrame(bytes, 0, frame);
  return bytes;
}

function read(bytes: Buffer, bounds = BOUNDS): Frame {
  const frame = newFrame();
  readFrame(bytes, frame, bounds);
  return frame;
}

test('a frame header is read as it was written', () => {
  fc.assert(
    fc.property(frameArbitrary, (frame) => deepEqual({ ...read(bytesOf(frame)) }, { ...frame })),
  );
});

test('no flipped bit and no random bytes make a frame header', () => {
  fc.assert(
    fc.property(frameArbitrary, fc.nat(FRAME_BYTES * 8 - 1), (frame, bit) => {
      const bytes = bytesOf(frame);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      throws(() => read(bytes), { code: 'NET_PROTOCOL' });
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: FRAME_BYTES, maxLength: FRAME_BYTES }), (bytes) => {
      throws(() => read(Buffer.from(bytes)), { code: 'NET_PROTOCOL' });
    }),
  );
});

test('a header that is right in itself is refused where its numbers are out of bounds', () => {
  const frame = { ...newFrame(), kind: FRAME_KIND.data as number, sequence: 1 };
  const wrong: Partial<Frame>[] = [
    { sequence: 0 },
    { kind: 0 },
    { kind: 7 },
    { headerBytes: BOUNDS.headerBytes + 1 },
    { payloadBytes: BOUNDS.payloadBytes + 1 },
    { payloadBytes: 2 ** 32 - 1 },
    { directoryBytes: BOUNDS.directoryBytes + 1 },
    { kind: FRAME_KIND.taken, payloadBytes: 1 },
    { sequence: 2 ** 53 },
    { mark: 2 ** 60 },
  ];
  read(bytesOf(frame));
  for (const one of wrong) {
    throws(
      () => read(bytesOf({ ...frame, ...one })),
      { code: 'NET_PROTOCOL' },
      JSON.stringify(one),
    );
  }
});

function makeSegment(): ReturnType<typeof createSegment> {
  return createSegment({
    name: 'frames',
    maxBuffers: 2,
    payloadBytes: BOUNDS.payloadBytes,
    directoryBytes: BOUNDS.directoryBytes,
    sharedWords: 0,
    stages: [
      { name: 'head', allocates: true, targets: [1] },
      { name: 'tail', allocates: false, targets: [] },
    ].map((stage) => ({
      instances: 1,
      overShareFails: false,
      ordered: false,
      numbered: false,
      partsMax: 1,
      windowBytes: 0,
      lazy: false,
      ...stage,
    })),
  });
}

test('frames are found however their bytes are cut, and lie where they belong', async () => {
  const target = new PipeBuffer(makeSegment(), 1);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(frameArbitrary, fc.constantFrom('now', 'later', 'never')), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.infiniteStream(fc.integer({ min: 1, max: 3000 })),
      fc.nat(255),
      async (frames, cuts, salt) => {
        const body = ({ headerBytes, payloadBytes, directoryBytes }: Frame): Buffer => {
          const bytes = Buffer.alloc(headerBytes + payloadBytes + directoryBytes);
          for (let i = 0; i < bytes.length; i++) bytes[i] = i * 31 + salt;
          return bytes;
        };
        const secret = Buffer.alloc(32, salt);
        const preamble = { id: 'ab'.repeat(16), agent: 0, attempt: 0 };
        const ends = (['connecting', 'accepting'] as const).map((side) =>
          // Keys are replaced every few frames.
          openLinkCipher(side, secret, preamble, Buffer.alloc(32), 5000),
        );
        const [own, other] = ends as [LinkCipher, LinkCipher];
        const whole = Buffer.concat(
          frames.flatMap(([frame]) => {
            const behind = body(frame);
            const head = sealed(own, bytesOf(frame));
            return behind.length === 0 ? [head] : [head, sealed(own, behind)];
          }),
        );
        const found: (Buffer | undefined)[] = [];
        const reader = new FrameReader(
          {
            begin: () => {
              const [, when] = frames[found.length] as [Frame, string];
              if (when === 'never') return null;
              return when === 'later' ? Promise.resolve(target) : target;
            },
            end: ({ headerBytes, payloadBytes, directoryBytes }, laid) => {
              if (laid === null) found.push(undefined);
              else
                found.push(
                  Buffer.concat([
                    target.header().subarray(target.headerRoom - headerBytes),
                    target.payload().subarray(0, payloadBytes),
                    target.directory().subarray(0, directoryBytes),
                  ]),
                );
            },
          },
          BOUNDS,
          other.opener,
        );
        for (let at = 0; at < whole.length; ) {
          const length = cuts.next().value as number;
          await reader.push(whole.subarray(at, at + length));
          at += length;
        }
        deepEqual(
          found,
          frames.map(([frame, when]) => (when === 'never' ? undefined : body(frame))),
        );
      },
    ),
    { numRuns: 50 },
  );
});

test('no altered, repeated or lost byte of sealed frames comes through', () => {
  const secret = Buffer.alloc(32, 9);
  const target = new PipeBuffer(makeSegment(), 1);
  const preamble = { id: 'cd'.repeat(16), agent: 1, attempt: 2 };
  const open = (side: 'connecting' | 'accepting'): LinkCipher =>
    openLinkCipher(side, secret, preamble, Buffer.alloc(32, 1));
  const frame = {
    ...newFrame(),
    kind: FRAME_KIND.data as number,
    sequence: 1,
    headerBytes: 3,
    payloadBytes: 20,
    directoryBytes: 5,
  };
  const own = open('connecting');
  const bodies = [
    Buffer.from('first body of 28 bytes here.'),
    Buffer.from('another one that follows it.'),
  ];
  const parts = bodies.map((body) =>
    Buffer.concat([sealed(own, bytesOf(frame)), sealed(own, body)]),
  );
  /** Bodies that were handed on until something was refused, or all had come. */
  const comes = (bytes: Buffer): string[] => {
    const found: string[] = [];
    const end = (): void => {
      const { headerRoom } = target;
      found.push(
        Buffer.concat([
          target.header().subarray(headerRoom - 3),
          target.payload().subarray(0, 20),
          target.directory().subarray(0, 5),
        ]).toString(),
      );
    };
    const { opener } = open('accepting');
    const reader = new FrameReader({ begin: () => target, end }, BOUNDS, opener);
    try {
      equal(reader.push(bytes), undefined);
    } catch (thrown) {
      equal((thrown as { code: string }).code, 'NET_PROTOCOL');
      found.push('refused');
    }
    return found;
  };
  const texts = bodies.map(String);
  const whole = Buffer.concat(parts);
  deepEqual(comes(whole), texts);
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const altered = Buffer.from(whole);
    altered[bit >> 3] = (altered[bit >> 3] as number) ^ (1 << (bit & 7));
    const before = bit < (parts[0] as Buffer).length * 8 ? 0 : 1;
    deepEqual(comes(altered), [...texts.slice(0, before), 'refused'], `bit ${bit}`);
  }
  const [first, second] = parts as [Buffer, Buffer];
  deepEqual(comes(Buffer.concat([first, first])), [texts[0], 'refused'], 'repeated');
  deepEqual(comes(second), ['refused'], 'one is missing');
  for (let at = 1; at < whole.length; at++) {
    const lost = Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)]);
    deepEqual(comes(lost).includes('refused') || comes(lost).length < 2, true, `byte ${at}`);
  }
  // What one side has sent is nothing that it believes itself.
  const back = new FrameReader({ begin: () => target, end: () => {} }, BOUNDS, own.opener);
  throws(() => back.push(whole), { code: 'NET_PROTOCOL' });
});

test('preambles are read back, and nothing else is one; tokens differ by agent and attempt', () => {
  const secret = Buffer.alloc(32, 7);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.nat(65_535),
      u32,
      fc.nat(PREAMBLE_BYTES * 8 - 1),
      (id, agent, attempt, bit) => {
        const preamble = { id: Buffer.from(id).toString('hex'), agent, attempt };
        const bytes = writePreamble(preamble);
        deepEqual(readPreamble(bytes), preamble);
        equal(readPreamble(bytes.subarray(1)), undefined);
        bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
        equal(readPreamble(bytes), undefined);
        const next = { ...preamble, attempt: (attempt + 1) >>> 0 };
        equal(tokenOf(secret, preamble).equals(tokenOf(secret, next)), false);
      },
    ),
  );
});

test('a rate is held over any time, whoever sends', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1000, max: 1e9 }),
      fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 1e6 }), passMs: fc.nat(500) }), {
        minLength: 1,
        maxLength: 50,
      }),
      (bytesPerSecond, sends) => {
        const rate = shareRate(bytesPerSecond);
        let nowMs = 1e6;
        const startMs = nowMs;
        let sent = 0;
        for (const { bytes, passMs } of sends) {
          nowMs += passMs;
          const waitMs = reserve(rate, bytes, BigInt(Math.round(nowMs * 1e6)));
          // What it waits for is what was sent before it, less 100 ms of unused time.
          const elapsedMs = nowMs + waitMs - startMs + 101;
          equal(sent <= (elapsedMs / 1000) * bytesPerSecond + 1, true);
          sent += bytes;
        }
      },
    ),
  );
});
