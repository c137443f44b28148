/**
 * What pipes between programs leave behind, however they end (P12).
 *
 * Goal: no descriptor, thread, socket of the file system or reservation is left in the process that ran
 * them, in whatever way their programs ended.
 * Method: rounds of pipes in this process that end in each way; what the process has open is counted
 * after the first rounds and after the last.
 */
import { deepEqual, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { attachPath } from '../../src/channel/local/unbound-stage.ts';
import { attachHead, attachTail, initiatePipe, type Pipe, unboundModule } from '../../src/mod.ts';
import { scratchFolder } from '../commands.ts';

const stateDirectory = join(scratchFolder(), 'state');
mkdirSync(stateDirectory, { mode: 0o700 });

type Streams = readonly [
  Awaited<ReturnType<typeof attachHead>>,
  Awaited<ReturnType<typeof attachTail>>,
];

/** Ways in which a pipe ends. */
const ENDINGS: readonly ((pipe: Pipe, streams: () => Promise<Streams>) => Promise<void>)[] = [
  async (_pipe, streams) => {
    const [head, tail] = await streams();
    head.end('all');
    await tail.toArray();
  },
  async (_pipe, streams) => {
    const [head] = await streams();
    head.write(Buffer.alloc(100_000));
    head.destroy();
  },
  async (_pipe, streams) => {
    const [head, tail] = await streams();
    head.write(Buffer.alloc(100_000));
    await once(tail, 'readable');
    tail.destroy(new Error('full'));
  },
  async (pipe, streams) => {
    const [head] = await streams();
    head.write(Buffer.alloc(1_000_000));
    await pipe.stop();
  },
  async (pipe) => pipe.stop(),
  async (pipe) => {
    // Somebody who says nothing, and somebody who goes before his data.
    const path = attachPath(stateDirectory, pipe.name);
    const silent = connect(path).on('error', () => {});
    const gone = connect(path).on('error', () => {});
    await once(gone, 'connect');
    const ident = { type: 'ident', version: 1, pipe: pipe.name, role: 'head', processId: 1 };
    gone.write(`${JSON.stringify(ident)}\n`);
    await once(gone, 'data');
    gone.destroy();
    await pipe.stop();
    silent.destroy();
  },
];

async function round(): Promise<void> {
  await Promise.all(
    ENDINGS.map(async (end) => {
      const stages = ['in', 'out'].map((name) => ({ name, modules: [unboundModule()] }));
      const pipe = await initiatePipe(
        { maxBuffers: 4, payloadBytes: 10_000, stages },
        { stateDirectory },
      );
      const at = { stateDirectory, pipe: pipe.name };
      const streams = async (): Promise<Streams> => {
        const both = [await attachHead(at), await attachTail(at)] as const;
        for (const stream of both) stream.on('error', () => {});
        return both;
      };
      await end(pipe, streams);
      await pipe.done.catch(() => {});
    }),
  );
}

/** What is open once nothing changes any more for a second. */
async function settled(): Promise<ReturnType<typeof open>> {
  let last = open();
  for (let same = 0; same < 20; ) {
    await sleep(50);
    const now = open();
    same = now.descriptors === last.descriptors && now.threads === last.threads ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** Sockets and pipes that this process has open, and its threads. */
function open(): { descriptors: number; threads: number } {
  const descriptors = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /^(socket|pipe):/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  });
  return {
    descriptors: descriptors.length,
    threads: readdirSync('/proc/self/task').length,
  };
}

test('however pipes of programs end, nothing of them is left', async () => {
  // What is loaded and kept on purpose is there after the first.
  await round();
  const before = await settled();
  for (let i = 0; i < 3; i++) await round();
  let after = await settled();
  // On a busy machine threads of the last round may still be going.
  for (let looks = 0; looks < 10 && after.threads > before.threads; looks++)
    after = await settled();
  ok(
    after.descriptors <= before.descriptors && after.threads <= before.threads,
    `${JSON.stringify(after)} is not more than ${JSON.stringify(before)}`,
  );
  deepEqual(readdirSync(join(stateDirectory, 'attach')), []);
});
