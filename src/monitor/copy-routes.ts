/**
 * POST /v1/copies/look: what a paired machine asks before it copies, within the folders that it was
 * granted. The threads that such a copy is about to use here are started meanwhile.
 */
import { type Looked, look } from '../modules/copy-look.ts';
import { warmCopy } from '../mover/warm-threads.ts';
import { dropWarmThreads } from '../pipe/mod.ts';
import type { MonitorContext, MonitorServer } from './context.ts';
import { lookOptions } from './copy-modules.ts';

const SCHEMA = {
  summary: 'what is at a path, for a copy from or to there',
  body: {
    type: 'object',
    required: ['path', 'as'],
    properties: {
      path: { type: 'string', description: 'absolute; one character for each byte' },
      as: { type: 'string', enum: ['source', 'target'] },
    },
  },
  response: {
    200: {
      type: 'object',
      required: ['isDirectory'],
      properties: {
        kind: {
          type: 'integer',
          description: 'as in the mode of a file; missing: nothing is there',
        },
        size: { type: 'integer', description: 'of a file' },
        isDirectory: { type: 'boolean', description: 'also of a link to one' },
      },
    },
  },
} as const;

/** How long threads wait for the copy that they were started for. */
const WARM_MS = 20_000;

export function copyRoutes(server: MonitorServer, context: MonitorContext): void {
  let timer: NodeJS.Timeout | undefined;
  context.onClose(async () => {
    clearTimeout(timer);
    dropWarmThreads();
  });
  server.post('/v1/copies/look', { schema: SCHEMA }, ({ body, peer }): Looked => {
    const looked = look(lookOptions(body, peer));
    const { as } = body as { as: 'source' | 'target' };
    const exists = looked.kind !== undefined;
    // Of what does not exist nothing is copied.
    if (as === 'target') warmCopy(as, exists, 'agents');
    else if (exists) warmCopy(as, undefined, 'agents');
    clearTimeout(timer);
    timer = setTimeout(() => dropWarmThreads('unused'), WARM_MS).unref();
    return looked;
  });
}
