/**
 * The scan in the thread of the walk: where many backups run at once, a thread of its own for each costs
 * more than it gains.
 *
 * Contract: as the stage `scan`, but that it runs ahead of the walk by no more than one buffer.
 */
import { must } from '../base/assert.ts';
import type { ModuleContext } from '../pipe/mod.ts';
import { Scanner, type ScanOptions } from './scan.ts';
import {
  FULL_BYTES,
  type ScanBuffer,
  type ScanSource,
  type ScanSpace,
  type ScanTarget,
} from './scan-stream.ts';

export class InlineScan implements ScanSource, ScanTarget {
  readonly #scanner: Scanner;
  readonly #context: ModuleContext;
  readonly #spare: ScanSpace[] = [];
  readonly #sent: ScanSpace[] = [];
  #state: 'new' | 'running' | 'ended' = 'new';

  constructor(options: ScanOptions, context: ModuleContext) {
    this.#context = context;
    this.#scanner = new Scanner(options, context, this);
  }

  /** The scan's side. */
  allocBuf(): ScanSpace {
    const spare = this.#spare.pop() ?? {
      memory: Buffer.alloc(FULL_BYTES),
      payloadOffset: 0,
      payloadCapacity: FULL_BYTES,
      length: 0,
    };
    spare.length = 0;
    return spare;
  }
  sendBuf(buffer: ScanSpace): void {
    this.#sent.push(buffer);
  }

  /** The walk's side. */
  receiveBuf(): ScanBuffer | null {
    this.#context.notice();
    if (this.#state === 'new') {
      this.#state = 'running';
      this.#scanner.begin();
    }
    while (this.#sent.length === 0 && this.#state === 'running')
      if (!this.#scanner.step()) this.#state = 'ended';
    return this.#sent.shift() ?? null;
  }
  freeBuf(buffer: ScanBuffer): void {
    this.#spare.push(must(buffer as ScanSpace, 'a buffer of ours'));
  }

  abort(): void {
    this.#scanner.abort();
  }
}
