/**
 * A module that misbehaves where it is told to: `at` names the call, `how` the way.
 */
import { openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { PenstockError } from '../../src/base/errors.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../../src/pipe/mod.ts';

export interface Misbehaviour {
  /** Buffers that a head makes; Infinity: it never ends. */
  readonly count?: number;
  readonly at?: 'load' | 'open' | 'fill' | 'process' | 'run' | 'close' | 'control' | 'abort';
  readonly how?:
    | 'throw'
    | 'penstock'
    | 'errno'
    | 'exit'
    | 'memory'
    | 'rejection'
    | 'later'
    | 'spin'
    | 'fifo'
    | 'late-fifo'
    | 'never'
    | 'wait-shared'
    | 'linger'
    | 'keep'
    | 'double-free'
    | 'receive'
    | 'return-early';
  /** Acts from this buffer on. */
  readonly after?: number;
  readonly fifo?: string;
  readonly form?: 'run';
}

export default function misbehave(options: Misbehaviour): PipeModule {
  if (options.at === 'load') throw new Error('it does not like its options');
  let context: ModuleContext;
  let seen = 0;
  const act = (at: string, buffer?: PipeBuffer): unknown =>
    options.at === at && seen >= (options.after ?? 0)
      ? misbehaveNow(options, context, buffer)
      : undefined;
  const fill = (buffer: PipeBuffer): boolean => {
    act('fill', buffer);
    buffer.setWord(0, seen);
    buffer.length = 1;
    return ++seen < (options.count ?? 10);
  };
  const module: PipeModule = {
    async open(given) {
      context = given;
      context.post('opened');
      await act('open');
    },
    process(buffer) {
      seen++;
      return act('process', buffer) === 'keep' ? null : buffer;
    },
    control(message) {
      act('control');
      return { heard: message, seen };
    },
    async close() {
      await act('close');
    },
    abort() {
      act('abort');
      context?.post('aborted');
    },
  };
  if (options.count !== undefined && options.form !== 'run') return { ...module, fill };
  if (options.form !== 'run') return module;
  return {
    ...module,
    run(given) {
      act('run');
      if (options.count !== undefined) {
        for (let more = options.count > 0; more; ) {
          const buffer = given.allocBuf();
          more = fill(buffer);
          given.sendBuf(buffer);
        }
        return;
      }
      for (let b = given.receiveBuf(); b !== null; b = given.receiveBuf()) {
        given.sendBuf(b);
        if (options.how === 'return-early') return;
      }
    },
  };
}

function misbehaveNow(options: Misbehaviour, context: ModuleContext, buffer?: PipeBuffer): unknown {
  switch (options.how) {
    case 'throw':
      throw new TypeError('a defect of the module');
    case 'penstock':
      throw new PenstockError('DAMAGED', 'block 7 is damaged', { subject: 'block 7' });
    case 'errno':
      return openSync('/does/not/exist', 'r');
    case 'exit':
      return process.exit(7);
    case 'memory': {
      const hoard: unknown[] = [];
      for (;;) hoard.push(new Array(1000).fill(hoard.length / 7));
    }
    case 'rejection':
      void Promise.reject(new Error('nobody handles this'));
      return undefined;
    case 'later':
      setTimeout(() => {
        throw new Error('thrown by a timer');
      }, 1);
      return sleep(60_000);
    case 'spin':
      for (;;) performance.now();
    case 'fifo':
      return openSync(options.fifo ?? '', 'r');
    case 'late-fifo':
      setTimeout(() => openSync(options.fifo ?? '', 'r'), 20);
      return undefined;
    case 'never':
      return new Promise(() => setInterval(() => {}, 1000));
    case 'wait-shared':
      return context.whileShared(0, 0);
    case 'linger':
      setInterval(() => {}, 1000);
      return undefined;
    case 'keep':
      return 'keep';
    case 'double-free':
      context.freeBuf(buffer as PipeBuffer);
      return undefined;
    case 'receive':
      return context.receiveBuf();
    default:
      return undefined;
  }
}
