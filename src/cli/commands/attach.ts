/**
 * `penstock attach`: connects standard input or output to an unbound end of a pipe.
 */
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, PenstockError, toPenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import {
  type AttachedHead,
  type AttachedTail,
  type AttachOptions,
  attachHead,
  attachTail,
} from '../../channel/local/attach.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(invocation: Invocation<'attach'>): Promise<number> {
  const { options, positionals, output, stateDirectory } = invocation;
  const { pipe } = positionals;
  const wanted: AttachOptions = { stateDirectory, pipe, stage: options.stage };
  const bytes =
    options.as === 'head' ? await give(invocation, wanted) : await take(invocation, wanted);
  output.summary({ command: 'attach', pipe, as: options.as, bytes }, '');
  return EXIT.ok;
}

async function give(invocation: Invocation<'attach'>, wanted: AttachOptions): Promise<number> {
  const { signal, output } = invocation;
  const head = await begun(invocation, () => attachHead(wanted));
  const { machine, program } = head.attachment;
  output.note(`attached as ${head.attachment.stage} of ${wanted.pipe} (${program} on ${machine})`);
  await until(signal, head, () => pipeline(process.stdin, head));
  return head.bytes;
}

async function take(invocation: Invocation<'attach'>, wanted: AttachOptions): Promise<number> {
  const { signal, output } = invocation;
  // From here on standard output is the data's alone.
  await output.writeBytes(new Uint8Array(0));
  const tail = await begun(invocation, () => attachTail(wanted));
  const { machine, program } = tail.attachment;
  output.note(`attached as ${tail.attachment.stage} of ${wanted.pipe} (${program} on ${machine})`);
  let bytes = 0;
  // A reader that does not read must not hide that the pipe was stopped. Not by a race: each would stay in
  // memory until the pipe is over.
  let stopped: { readonly error: unknown } | undefined;
  let stop: (error: unknown) => void = () => {};
  tail.outcome.catch((error) => {
    stopped = { error };
    stop(error);
  });
  await until(signal, tail, async () => {
    for await (const chunk of tail.iterator({ destroyOnReturn: false })) {
      await new Promise<void>((resolve, reject) => {
        if (stopped !== undefined) throw stopped.error;
        stop = reject;
        output.writeBytes(chunk).then(resolve, reject);
      });
      bytes += chunk.length;
    }
    await tail.outcome;
  });
  return bytes;
}

/** Runs what moves a stream; whatever hinders it is what the other end of the pipe is told. */
async function until(
  signal: AbortSignal,
  stream: AttachedHead | AttachedTail,
  move: () => Promise<void>,
): Promise<void> {
  const stop = (): void => void stream.destroy(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) stop();
    await move();
  } catch (thrown) {
    stream.destroy(toPenstockError(thrown));
    throw thrown;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Attaches; a pipe that is not there yet is waited for as long as was asked. */
async function begun<T>(
  { options, signal }: Invocation<'attach'>,
  attach: () => Promise<T>,
): Promise<T> {
  const endMs = performance.now() + (options.waitMs ?? 0);
  for (;;) {
    signal.throwIfAborted();
    try {
      return await attach();
    } catch (thrown) {
      const isMissing = thrown instanceof PenstockError && thrown.code === 'PIPE_UNKNOWN';
      if (!isMissing || performance.now() >= endMs) throw thrown;
    }
    await sleep(LIMITS.attachPollMs, undefined, { signal });
  }
}
