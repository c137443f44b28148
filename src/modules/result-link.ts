/**
 * How collectors hand results of batches back to the walk: by direct ports between their threads, and
 * a shared word that counts results, on which the walk waits. In the walk's own thread a list does: there
 * a batch is done when the sending of its plan returns.
 *
 * The walk reads the count before it looks at the ports, so that a result that comes in between is
 * not missed.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { assert, must } from '../base/assert.ts';
import type { ModuleContext, Segment } from '../pipe/mod.ts';
import type { BatchResult } from './unit.ts';

/** Shared word of the pipe that counts results. */
export const RESULT_WORD = 0;
export const WALK_STAGE = 'walk';
export const WORK_STAGE = 'work';

export interface ResultSender {
  send(result: BatchResult): void;
}

export interface ResultReceiver {
  /** Results that have come; with `wait`, at least one. */
  receive(wait: boolean): BatchResult[];
}

export function openResultSender(context: ModuleContext): ResultSender {
  if (context.stage === WALK_STAGE) return { send: (result) => ownResults(context).push(result) };
  const port = must(context.ports[WALK_STAGE], 'a collector is linked to the walk');
  return {
    send: (result) => {
      port.postMessage(result, [result.bytes]);
      Atomics.add(context.sharedWords, RESULT_WORD, 1);
      context.notifyShared();
    },
  };
}

export function openResultReceiver(context: ModuleContext): ResultReceiver {
  const ports: MessagePort[] = [];
  for (const [name, port] of Object.entries(context.ports)) {
    if (name === WORK_STAGE || name.startsWith(`${WORK_STAGE}.`)) ports.push(port);
  }
  if (ports.length === 0) return ownReceiver(ownResults(context));
  return {
    receive: (wait) => {
      const results: BatchResult[] = [];
      for (;;) {
        const count = Atomics.load(context.sharedWords, RESULT_WORD);
        for (const port of ports) {
          for (
            let got = receiveMessageOnPort(port);
            got !== undefined;
            got = receiveMessageOnPort(port)
          ) {
            results.push(got.message as BatchResult);
          }
        }
        if (!wait || results.length > 0) return results;
        context.whileShared(RESULT_WORD, count);
      }
    },
  };
}

/** Results of collectors in the walk's own thread. */
const results = new WeakMap<Segment, BatchResult[]>();

function ownResults({ segment }: ModuleContext): BatchResult[] {
  const known = results.get(segment) ?? [];
  results.set(segment, known);
  return known;
}

function ownReceiver(own: BatchResult[]): ResultReceiver {
  return {
    receive: (wait) => {
      assert(!wait || own.length > 0, 'a batch that was sent is done');
      return own.splice(0);
    },
  };
}
