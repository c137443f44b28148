/**
 * `penstock copy`: copies a tree or a single item to another place, of this machine or a paired one.
 */
import { type ByteString, fromText, toDisplay } from '../../base/bytes.ts';
import { EXIT, fromErrorRecord, PenstockError } from '../../base/errors.ts';
import type { CopyPlace, CopyRequest } from '../../mover/copy.ts';
import { warmCopy } from '../../mover/warm-threads.ts';
import { localAddressesOf, type MachineAddress, MONITOR_PORT, parseAddress } from '../address.ts';
import type { Invocation } from '../invocation.ts';
import { reportRefusals } from '../render-refusals.ts';
import { copySummary } from '../render-summary.ts';

export default async function run(invocation: Invocation<'copy'>): Promise<number> {
  const { options, positionals, output } = invocation;
  const startedMs = output.clockMs();
  output.progress.start('copying');
  const source = placeOf(positionals.source);
  const target = placeOf(positionals.target);
  if (source.machine !== undefined) warmCopy('target');
  else warmCopy(target.machine === undefined ? 'both' : 'source');
  const { copy } = await import('../../mover/copy.ts');
  const result = await copy({
    ...(await reach(invocation, source, target)),
    owners: !options.noOwner,
    byNumber: options.numericIds,
    syncs: options.sync,
    dryRun: options.dryRun,
    threads: options.threads,
    signal: invocation.signal,
    onProblem: (path, error) => {
      const { message, code } = fromErrorRecord(error);
      const shown = message.includes(toDisplay(path)) ? message : `${toDisplay(path)}: ${message}`;
      output.problem(shown, { code, path });
    },
    onProgress: ({ files, bytes, ...total }) =>
      output.progress.update({ bytesDone: bytes, filesDone: files, ...total }),
  });
  output.progress.finish();
  reportRefusals(output, result.refusals, 'COPY_PARTIAL', 'copy as root, or give --no-owner');
  const { problems, refusals, ...counts } = result;
  output.summary(
    ...copySummary({
      source: positionals.source,
      target: positionals.target,
      ...counts,
      failed: problems,
      isDryRun: options.dryRun,
      elapsedMs: output.clockMs() - startedMs,
    }),
  );
  return EXIT.ok;
}

interface NamedPlace {
  readonly machine: MachineAddress | undefined;
  readonly path: ByteString;
}

/** `HOST:/path`, `HOST:PORT:/path`, or a path of this machine. USAGE. */
function placeOf(text: ByteString): NamedPlace {
  const [, machine, rest] = /^((?:\[[^\]/]*\]|[^/:[\]]+)(?::\d+)?):(.*)$/s.exec(text) ?? [];
  if (machine === undefined || rest === undefined) {
    return { machine: undefined, path: tidy(absolute(text)) };
  }
  if (!rest.startsWith('/')) {
    throw new PenstockError('USAGE', `a path of another machine begins with a slash: ${text}`, {
      hint: 'write HOST:/path, or ./name for a file of this machine with a colon in its name',
    });
  }
  return { machine: parseAddress(machine, MONITOR_PORT), path: tidy(rest) };
}

function absolute(path: ByteString): ByteString {
  return path.startsWith('/') ? path : `${fromText(process.cwd())}/${path}`;
}
/** Ends in a slash if and only if it can only be a directory. */
function tidy(path: ByteString): ByteString {
  const isDirectory = /\/\.{0,2}$/.test(path);
  const trimmed = path.replace(/\/+$/, '') || '/';
  return isDirectory && trimmed !== '/' ? `${trimmed}/` : trimmed;
}

type Reached = Pick<CopyRequest, 'source' | 'target' | 'network'>;

/** What is needed of the machines that are named. Code for that is loaded only where one is. */
async function reach(
  { stateDirectory, options, output }: Invocation<'copy'>,
  source: NamedPlace,
  target: NamedPlace,
): Promise<Reached> {
  if (source.machine === undefined && target.machine === undefined) {
    return { source: { path: source.path }, target: { path: target.path } };
  }
  const { Peers } = await import('../../channel/net/peers.ts');
  const { StateFolder } = await import('../../channel/net/state-folder.ts');
  const { openIdentity } = await import('../../channel/net/identity.ts');
  const state = new StateFolder(stateDirectory);
  const localAddresses = localAddressesOf(options.localAddresses);
  const placed = ({ machine, path }: NamedPlace): CopyPlace => {
    if (machine === undefined) return { path };
    const { fingerprint } = new Peers(state).server(machine.host, machine.port);
    return { path, server: { ...machine, fingerprint, localAddresses } };
  };
  return {
    source: placed(source),
    target: placed(target),
    network: {
      identity: await openIdentity(state),
      links: options.agents,
      bytesPerSecond: options.limitRateBytes,
      lostMs: options.reconnectMs,
      onQueued: (place) =>
        output.note(`the other machine has no room for the copy yet: place ${place} in its queue`),
    },
  };
}
