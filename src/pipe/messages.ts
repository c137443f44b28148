/**
 * What passes between the initiator and the thread of an instance: plans, states and errors, never
 * bytes (style rule 9). Buffers and waiting go through the segment alone.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ErrorRecord } from '../base/errors.ts';
import type { NativeFiles } from '../host/native/package.ts';

/** What a thread is to run; it is started ahead of it (warm.ts). */
export interface WorkerPlan {
  readonly memory: WebAssembly.Memory;
  readonly instance: number;
  readonly modules: readonly { readonly url: string; readonly options: unknown }[];
  readonly ports: Readonly<Record<string, MessagePort>>;
  readonly workerData: unknown;
  /** The thread is to wait for another plan when this one has come to its end. */
  readonly keepsThread: boolean;
  /** Binaries that this process has found already. */
  readonly nativeFiles: NativeFiles;
}

export type ToInstance =
  | { readonly type: 'control'; readonly id: number; readonly message: unknown }
  | { readonly type: 'wake' }
  /** To a thread that was kept. */
  | { readonly type: 'plan'; readonly plan: WorkerPlan };

export type FromInstance =
  | { readonly type: 'acknowledgement'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly error: ErrorRecord }
  | { readonly type: 'start'; readonly stage: number; readonly instance: number }
  | { readonly type: 'paused'; readonly pause: number }
  | { readonly type: 'post'; readonly message: unknown }
  | { readonly type: 'warning'; readonly record: unknown }
  | { readonly type: 'stop'; readonly reason: string }
  | { readonly type: 'ended' }
  | { readonly type: 'stopped' }
  /** After `ended`: the thread waits for another plan. */
  | { readonly type: 'idle' }
  | { readonly type: 'failed'; readonly error: ErrorRecord };
