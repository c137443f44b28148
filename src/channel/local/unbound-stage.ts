/**
 * How a pipe is given unbound modules, and where programs find them.
 */

import { createHash } from 'node:crypto';
import type { ByteString } from '../../base/bytes.ts';
import { codeFile } from '../../base/code-file.ts';
import { LIMITS } from '../../base/limits.ts';
import type { ModuleSpec, PipeSpec } from '../../pipe/mod.ts';
import type { UnboundOptions } from './unbound.ts';

export const UNBOUND_URL: URL = codeFile('channel/local/unbound');

/**
 * The module of a stage whose work is done by a program that the pipe does not start: it attaches itself with
 * `penstock attach`, `attachHead` or `attachTail`. The only module of a head or tail; each instance takes
 * one program. A pipe that nobody attaches to within `waitMs` fails.
 */
export function unboundModule(options: Partial<UnboundOptions> = {}): ModuleSpec {
  const { waitMs = LIMITS.programWaitMs } = options;
  return { module: UNBOUND_URL, options: { waitMs } satisfies UnboundOptions };
}

/** The names of the stages that are unbound. */
export function unboundStages({ stages }: Pick<PipeSpec, 'stages'>): string[] {
  return stages
    .filter(({ modules }) => modules.some(({ module }) => String(module) === UNBOUND_URL.href))
    .map(({ name }) => name);
}

/** The folder of sockets for programs in a state folder. */
export const ATTACH_FOLDER = 'attach';

/** Where the process that runs a pipe listens for programs. Names are longer than a socket's path may be. */
export function attachPath(stateDirectory: ByteString, pipe: string): ByteString {
  const digest = createHash('sha256').update(pipe).digest('hex').slice(0, 16);
  return `${stateDirectory}/${ATTACH_FOLDER}/${digest}.sock`;
}
