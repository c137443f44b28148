/**
 * Goal: a tape behind iSCSI does what a list of objects does, whatever is asked of it in which order, and
 * with connections that break between two calls.
 * Method: random calls on a scripted drive and on a list; results, positions and what lies on the tape must
 * agree, with drives that can tell and find positions and with ones that cannot.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import type { Spaced, Volume } from '../../src/media/volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { ScriptedTarget } from '../iscsi-target.ts';

const RUNS = 60;
const LOCATE = 0x2b;
const READ_POSITION = 0x34;
const SETTLE_ATTEMPTS = 200;

type Call =
  | { readonly kind: 'append' | 'read'; readonly bytes: number }
  | { readonly kind: 'marks' | 'blocks' | 'files' | 'locate'; readonly count: number }
  | { readonly kind: 'rewind' | 'end' | 'tell' | 'synchronise' | 'lose' };

const call: fc.Arbitrary<Call> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('append'), bytes: fc.integer({ min: 1, max: 900 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('read'), bytes: fc.integer({ min: 0, max: 900 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('marks'), count: fc.integer({ min: 1, max: 2 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('blocks', 'files'),
      count: fc.integer({ min: -4, max: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('locate'), count: fc.nat(12) }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constantFrom('rewind', 'end', 'tell', 'synchronise', 'lose') }),
  },
) as fc.Arbitrary<Call>;

/** The list that a tape is to behave like. */
class Model {
  objects: (Buffer | null)[] = [];
  at = 0;
  #next = 0;

  put(object: Buffer | null): void {
    this.objects.length = this.at;
    this.objects.push(object);
    this.at += 1;
  }

  record(bytes: number): Buffer {
    this.#next += 1;
    return Buffer.alloc(bytes, this.#next);
  }

  space(count: number, wantsMark: boolean): Spaced {
    const step = Math.sign(count);
    let done = 0;
    while (done < Math.abs(count)) {
      const object = this.objects[step > 0 ? this.at : this.at - 1];
      if (object === undefined) return { count: done, stop: step > 0 ? 'end' : 'beginning' };
      this.at += step;
      if ((object === null) === wantsMark) done += 1;
      else if (!wantsMark) return { count: done, stop: 'mark' };
    }
    return { count: done, stop: 'done' };
  }
}

async function perform(
  one: Call,
  volume: Volume,
  model: Model,
  lose: () => Promise<void>,
): Promise<void> {
  switch (one.kind) {
    case 'append': {
      const record = model.record(one.bytes);
      await volume.append(record);
      return model.put(record);
    }
    case 'read': {
      const into = Buffer.alloc(one.bytes);
      const got = await volume.read(into);
      const object = model.objects[model.at];
      if (object === undefined) return assert.deepEqual(got, { kind: 'end' });
      model.at += 1;
      if (object === null) return assert.deepEqual(got, { kind: 'mark' });
      assert.deepEqual(got, { kind: 'record', bytes: object.length });
      const length = Math.min(one.bytes, object.length);
      return assert.deepEqual(into.subarray(0, length), object.subarray(0, length));
    }
    case 'marks':
      await volume.writeMarks(one.count);
      for (let i = 0; i < one.count; i++) model.put(null);
      return;
    case 'blocks':
      return assert.deepEqual(await volume.spaceRecords(one.count), model.space(one.count, false));
    case 'files':
      return assert.deepEqual(await volume.spaceMarks(one.count), model.space(one.count, true));
    case 'locate': {
      const located = volume.locate(one.count);
      model.at = Math.min(one.count, model.objects.length);
      if (one.count <= model.objects.length) return await located;
      return await assert.rejects(located, { code: 'VOLUME_POSITION' });
    }
    case 'rewind':
      await volume.rewind();
      model.at = 0;
      return;
    case 'end':
      await volume.spaceEnd();
      model.at = model.objects.length;
      return;
    case 'tell': {
      const told = await volume.tell();
      assert.equal(told.object, model.at);
      assert.equal(told.atBeginning, model.at === 0);
      return;
    }
    case 'synchronise':
      return await volume.synchronise();
    case 'lose':
      return await lose();
  }
}

for (const [what, lacks] of [
  ['by the standard', []],
  ['that cannot find positions', [LOCATE]],
  ['that can neither tell nor find positions', [LOCATE, READ_POSITION]],
] as const) {
  test(`a drive ${what} does what a list does`, async () => {
    const calls = fc.array(call, { minLength: 5, maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(calls, async (list) => {
        const target = await ScriptedTarget.start();
        for (const code of lacks) target.device.lacks.add(code);
        const device = new IscsiDevice(parseIscsiAddress(target.url()), { reconnectMs: 5000 });
        const volume = await openScsiVolume(device);
        const model = new Model();
        const lose = async (): Promise<void> => {
          const { generation } = device;
          target.cut();
          // What is asked while the end of the connection is on its way may fail with it.
          for (let i = 0; i < SETTLE_ATTEMPTS && device.generation === generation; i++) {
            await volume.status().catch(() => undefined);
          }
          assert.equal((await volume.tell()).object, model.at);
        };
        try {
          for (const one of list) await perform(one, volume, model, lose);
          assert.deepEqual(target.device.objects, model.objects);
          assert.equal((await volume.tell()).object, model.at);
          assert.deepEqual(target.violations, []);
        } finally {
          await volume.close();
          await target.stop();
        }
      }),
      { numRuns: RUNS },
    );
  });
}
