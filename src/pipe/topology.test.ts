/**
 * Goal: roles, shares and ordered sections follow from the stages, and what cannot work is refused.
 * Method: tables of shapes, each written as one line.
 */
import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { planTopology, type StageConfig } from './topology.ts';

/** A stage from `name instances flags >targets`: a allocates, o ordered, l lazy, p3 partsMax 3. */
function stages(...lines: string[]): StageConfig[] {
  const names = lines.map((line) => line.split(' ')[0] ?? '');
  return lines.map((line, i) => {
    const [name = '', instances = '1', flags = '', to] = line.split(' ');
    const targets =
      to === undefined
        ? i + 1 < lines.length
          ? [i + 1]
          : []
        : to
            .split('>')
            .slice(1)
            .filter((target) => target !== '')
            .map((target) => names.indexOf(target));
    return {
      name,
      instances: Number(instances),
      allocates: flags.includes('a'),
      overShareFails: false,
      ordered: flags.includes('o'),
      numbered: false,
      partsMax: Number(/p(\d+)/.exec(flags)?.[1] ?? 1),
      windowBytes: 0,
      lazy: flags.includes('l'),
      targets,
    };
  });
}

test('roles follow from who sends to whom', () => {
  const shape = stages('a 1 a >mid', 'b 2 a >mid', 'mid 3 - >x>y', 'x 1 - >', 'y 2 - >');
  const topology = planTopology(shape, 10);
  deepEqual(topology.roles, ['head', 'head', 'middle', 'tail', 'tail']);
  deepEqual(topology.sources, [[], [], [0, 1], [2], [2]]);
  deepEqual(topology.stageOf, [0, 1, 1, 2, 2, 2, 3, 4, 4]);
  deepEqual(topology.firstInstance, [0, 1, 3, 6, 7]);
});

test('the only stage of a pipe is all of it', () => {
  const topology = planTopology(stages('h 2 a'), 5);
  deepEqual(topology.roles, ['whole']);
  equal(topology.share, 2);
});

test('each allocating instance has the same share, rounded down', () => {
  const topology = planTopology(stages('h 1 a', 'm 2 a', 't 1'), 11);
  equal(topology.allocatorCount, 3);
  equal(topology.share, 3);
  deepEqual(topology.allocatorOf, [0, 1, 2, -1]);
});

const REFUSED: [string, string[], number, RegExp][] = [
  ['no stage', [], 4, /stages of a pipe must be between 1/],
  ['one stage that waits for a buffer', ['h 1 al'], 4, /no first buffer/],
  ['no instance', ['h 0 a', 't'], 4, /instances of stage h/],
  ['too many instances', ['h 1 a', 't 257'], 4, /instances of stage t/],
  ['no buffers', ['h 1 a', 't'], 0, /maxBuffers/],
  ['more allocating instances than buffers', ['h 2 a', 'm 3 a', 't'], 4, /5 instances allocate/],
  ['a name twice', ['h 1 a', 'h 1'], 4, /two stages are named h/],
  ['a way back', ['h 1 a >m', 'm 1 - >h', 't 1 - >'], 4, /only send to later stages/],
  ['a tail that allocates', ['h 1 a', 't 1 a'], 4, /is a tail/],
  ['a head that does not', ['h 1', 't 1'], 4, /is a head: it must allocate/],
  ['a head that waits for a buffer', ['h 1 al', 't 1'], 4, /no first buffer/],
  ['a stage apart', ['h 1 a >t', 'x 1 - >', 't 1 - >'], 4, /nothing sends to stage x/],
  ['a tail of several in order', ['h 1 a', 't 2 o'], 4, /cannot be put in order/],
  ['order where streams join', ['h 1 a >m', 'k 1 a >t', 'm 2 - >t', 't 1 o >'], 8, /joins streams/],
  ['order where the stream divides', ['h 1 a', 'm 2 - >t>u', 't 1 o >', 'u 1 - >'], 8, /divides/],
  ['parts beyond the share', ['h 1 a', 'm 2 ap3', 't 1 o'], 8, /up to 3 buffers .* only 2/],
];

for (const [what, lines, maxBuffers, message] of REFUSED) {
  test(`refused: ${what}`, () => {
    throws(() => planTopology(stages(...lines), maxBuffers), { code: 'PIPE_CONFIG', message });
  });
}

const SECTIONS: [string, string[], number, unknown[]][] = [
  ['queues keep the order of single instances', ['h 1 a', 'm 1', 't 1 o'], 8, []],
  ['nobody asks', ['h 1 a', 'm 2', 't 1'], 8, []],
  [
    'in place: as many numbers as buffers',
    ['h 1 a', 'm 2', 't 1 o'],
    8,
    [{ stages: [1], first: 1, last: 2, window: 8, parts: 1 }],
  ],
  [
    'the stage itself asks',
    ['h 1 a', 'm 2 o', 't 1'],
    8,
    [{ stages: [1], first: 1, last: 2, window: 8, parts: 1 }],
  ],
  [
    'allocating inside: no more numbers than the share',
    ['h 1 a', 'm 2 a', 'n 2', 't 1 o'],
    9,
    [{ stages: [1, 2], first: 1, last: 3, window: 3, parts: 1 }],
  ],
  [
    'parts divide the window',
    ['h 1 a', 'm 2 ap2', 't 1 o'],
    15,
    [{ stages: [1], first: 1, last: 2, window: 2, parts: 2 }],
  ],
  [
    'a single stage inside that asks nothing',
    ['h 1 a', 'm 2', 'n 1', 't 1 o'],
    8,
    [{ stages: [1, 2], first: 1, last: 3, window: 8, parts: 1 }],
  ],
  [
    'two sections',
    ['h 1 a', 'm 2', 'n 1 oa', 'o 3', 't 1 o'],
    8,
    [
      { stages: [1], first: 1, last: 2, window: 8, parts: 1 },
      { stages: [3], first: 3, last: 4, window: 8, parts: 1 },
    ],
  ],
  [
    'several heads: the order of arrival',
    ['h 2 a', 'm 2', 't 1 o'],
    8,
    [{ stages: [1], first: 1, last: 2, window: 8, parts: 1 }],
  ],
  ['several heads and nothing between', ['h 2 a', 't 1 o'], 8, []],
  [
    'other stages beside the section',
    ['h 1 a >m>x', 'm 2 - >t', 'x 1 - >', 't 1 o >'],
    8,
    [{ stages: [1], first: 1, last: 3, window: 8, parts: 1 }],
  ],
];

for (const [what, lines, maxBuffers, sections] of SECTIONS) {
  test(`order: ${what}`, () => {
    const topology = planTopology(stages(...lines), maxBuffers);
    deepEqual(topology.sections, sections);
    for (const [i, section] of topology.sectionOf.entries()) {
      equal(
        section,
        topology.sections.findIndex(({ stages: inside }) => inside.includes(i)),
      );
    }
  });
}
