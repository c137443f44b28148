/**
 * `penstock pipe start`: has this machine's monitor run a pipe between programs.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { askStart } from '../../monitor/local-requests.ts';
import type { FarPart } from '../../monitor/near-pipes.ts';
import { MONITOR_PORT, parseAddress } from '../address.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(invocation: Invocation<'pipe start'>): Promise<number> {
  const { positionals, options, output, stateDirectory } = invocation;
  const { to, from, through, farThrough, device, farDevice, shared, waitMs } = options;
  const { name } = positionals;
  if (name !== undefined && !/^[\w.-]{1,200}$/.test(name)) {
    throw new PenstockError('USAGE', `not a name for a pipe: ${name}`, {
      hint: 'letters, digits, dots, dashes and underscores',
    });
  }
  const flow = to.length === 0 ? 'pull' : 'push';
  const machines = farParts([...to, ...from], farThrough, farDevice);
  const started = await askStart(stateDirectory, {
    name,
    ...(machines.length === 0 ? {} : { far: { flow, machines } }),
    through,
    device,
    shared,
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

/** What each of the other machines is asked for; what names none is for the last. USAGE. */
function farParts(
  addresses: readonly string[],
  through: readonly string[],
  devices: readonly string[],
): FarPart[] {
  const parts = addresses.map((address) => ({
    ...parseAddress(address, MONITOR_PORT),
    through: [] as string[],
    device: undefined as string | undefined,
  }));
  const placed = (option: string, text: string): { part: (typeof parts)[number]; name: string } => {
    const at = text.lastIndexOf('=');
    const address = at < 0 ? undefined : text.slice(0, at);
    const part = parts[address === undefined ? parts.length - 1 : addresses.indexOf(address)];
    if (part !== undefined) return { part, name: text.slice(at + 1) };
    throw new PenstockError('USAGE', `${option} ${text} is for no machine of the pipe`, {
      hint: 'write MACHINE=NAME with the machine as in --to or --from',
    });
  };
  for (const text of through) {
    const { part, name } = placed('--far-through', text);
    part.through.push(name);
  }
  for (const text of devices) {
    const { part, name } = placed('--far-device', text);
    part.device = name;
  }
  return parts;
}
