/**
 * `penstock pipe start`: has this machine's monitor run a pipe between programs.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { askStart } from '../../monitor/local-requests.ts';
import { MONITOR_PORT, parseAddress } from '../address.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(invocation: Invocation<'pipe start'>): Promise<number> {
  const { positionals, options, output, stateDirectory } = invocation;
  const { to, from, through, farThrough, device, farDevice, waitMs } = options;
  const { name } = positionals;
  if (name !== undefined && !/^[\w.-]{1,200}$/.test(name)) {
    throw new PenstockError('USAGE', `not a name for a pipe: ${name}`, {
      hint: 'letters, digits, dots, dashes and underscores',
    });
  }
  const host = to ?? from;
  const flow = to === undefined ? 'pull' : 'push';
  const started = await askStart(stateDirectory, {
    name,
    ...(host === undefined ? {} : { far: { flow, ...parseAddress(host, MONITOR_PORT) } }),
    through,
    farThrough,
    device,
    farDevice,
    waitMs,
  });
  output.line(started.name);
  const text =
    started.state === 'queued'
      ? `the pipe is queued, at place ${started.place ?? '?'}`
      : 'the pipe runs';
  output.summary({ command: 'pipe start', ...started }, text);
  return EXIT.ok;
}
