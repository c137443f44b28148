/**
 * Goal: a segment says everything about itself, nothing in it overlaps, and buffers suit O_DIRECT.
 * Method: attach by the memory alone and compare; compare the extents of all structures.
 */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { PipeBuffer } from './buffer.ts';
import { LINE_BYTES, PAGE_BYTES, type SegmentConfig } from './layout.ts';
import { attachSegment, createSegment, INITIATOR } from './segment.ts';
import type { StageConfig } from './topology.ts';

const stage = (name: string, more: Partial<StageConfig>): StageConfig => ({
  name,
  instances: 1,
  allocates: false,
  overShareFails: false,
  ordered: false,
  numbered: false,
  partsMax: 1,
  windowBytes: 0,
  lazy: false,
  targets: [],
  ...more,
});

const CONFIG: SegmentConfig = {
  name: 'machine-1-2-3',
  maxBuffers: 37,
  payloadBytes: 10_000,
  directoryBytes: 100,
  sharedWords: 5,
  stages: [
    stage('häd', { allocates: true, targets: [1], overShareFails: true }),
    stage('middle', {
      instances: 3,
      allocates: true,
      partsMax: 2,
      windowBytes: 5000,
      targets: [2, 3],
    }),
    stage('to-disk', { instances: 2, lazy: true, numbered: true, targets: [3] }),
    stage('tail', { ordered: false }),
  ],
};

test('a thread that has only the memory finds the whole configuration', () => {
  const segment = createSegment(CONFIG);
  const attached = attachSegment(segment.memory);
  deepEqual(attached.config, CONFIG);
  deepEqual(attached.topology, segment.topology);
  deepEqual(attached.layout, segment.layout);
  throws(() => attachSegment(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })), {
    name: 'AssertionError',
  });
});

test('targets beyond the 32nd stage are kept', () => {
  const stages = Array.from({ length: LIMITS.stagesMax }, (_, i) =>
    stage(`s${i}`, {
      allocates: i === 0,
      targets:
        i + 1 < LIMITS.stagesMax ? [i + 1, LIMITS.stagesMax - 1].slice(0, i < 62 ? 2 : 1) : [],
    }),
  );
  const { memory } = createSegment({ ...CONFIG, stages });
  deepEqual(attachSegment(memory).config.stages, stages);
});

test('payloads, directories and windows are page-aligned and lie side by side', () => {
  const segment = createSegment(CONFIG);
  const buffers = Array.from({ length: CONFIG.maxBuffers }, (_, i) => new PipeBuffer(segment, i));
  const extents = [
    ...buffers.flatMap((buffer) => [
      [buffer.headerOffset, buffer.headerRoom],
      [buffer.payloadOffset, buffer.payloadCapacity],
      [buffer.directoryOffset, buffer.directoryCapacity],
    ]),
    ...segment.topology.stageOf.map((_, i) => {
      const window = segment.windowOf(i);
      return [window.byteOffset, window.length];
    }),
  ].filter(([, length]) => length !== 0) as [number, number][];
  for (const [offset] of extents) equal(offset % PAGE_BYTES, 0);
  extents.sort(([a], [b]) => a - b);
  let end = segment.sharedWords.byteOffset + segment.sharedWords.byteLength;
  for (const [offset, length] of extents) {
    ok(offset >= end, `what lies at ${offset} begins after ${end}`);
    end = offset + length;
  }
  ok(end <= segment.bytes.length);
  equal(buffers[0]?.payloadCapacity, 12_288);
  equal(segment.windowOf(1).length, 5000);
});

test('what different threads write lies in lines of its own', () => {
  const { layout } = createSegment(CONFIG);
  const line = LINE_BYTES / 4;
  for (const at of [
    layout.stages,
    layout.semaphores,
    layout.shares,
    layout.pause,
    layout.rings,
    layout.instances,
    layout.descriptors,
  ]) {
    equal(at % line, 0);
  }
});

test('the free pool starts with all buffers, each semaphore with its share', () => {
  const segment = createSegment(CONFIG);
  equal(segment.queueLength(0), 37);
  equal(segment.topology.share, 9);
  for (let i = 1; i < 4; i++) equal(segment.queueLength(i), 0);
});

test('sizes that make no sense are refused', () => {
  for (const wrong of [
    { payloadBytes: 0 },
    { payloadBytes: 1.5 },
    { directoryBytes: -1 },
    { sharedWords: -1 },
  ]) {
    throws(() => createSegment({ ...CONFIG, ...wrong }), { code: 'PIPE_CONFIG' });
  }
  throws(() => createSegment({ ...CONFIG, payloadBytes: 2 ** 28 }), {
    code: 'PIPE_CONFIG',
    message: /at most 4 GiB/,
  });
});

test('the first that asks for a stop is its cause', () => {
  const segment = createSegment(CONFIG);
  equal(segment.firstCause, -1);
  equal(segment.stopRequested, false);
  segment.requestStop(4);
  segment.requestStop(INITIATOR);
  segment.requestStop(0);
  equal(segment.firstCause, 4);
  equal(attachSegment(segment.memory).stopRequested, true);
  const other = createSegment(CONFIG);
  other.requestStop(INITIATOR);
  other.requestStop(2);
  equal(other.firstCause, INITIATOR);
});

test('the words of a buffer hold what they are given', () => {
  const segment = createSegment(CONFIG);
  const buffer = new PipeBuffer(segment, 3);
  const other = new PipeBuffer(attachSegment(segment.memory), 3);
  buffer.length = 12_288;
  buffer.kind = 0xffff_ffff;
  buffer.sequence = 2 ** 52 + 3;
  buffer.setWord(0, 0x8000_0000);
  buffer.setWord(23, 7);
  deepEqual(
    [other.length, other.kind, other.sequence, other.word(0), other.word(23), other.word(1)],
    [12_288, 0xffff_ffff, 2 ** 52 + 3, 0x8000_0000, 7, 0],
  );
  for (const misuse of [
    () => (buffer.length = 12_289),
    () => (buffer.length = -1),
    () => buffer.word(24),
    () => buffer.setWord(-1, 0),
  ]) {
    throws(misuse, { name: 'AssertionError' });
  }
  buffer.payload().write('same bytes');
  equal(other.payload().toString('latin1', 0, 10), 'same bytes');
  equal(buffer.payload(), buffer.payload(), 'made once');
  equal(buffer.header().length, LIMITS.headerRoomBytes);
  equal(buffer.directory().length, 4096);
});
