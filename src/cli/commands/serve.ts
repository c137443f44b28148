/**
 * `penstock serve`: runs the monitor until it is told to end.
 *
 * The first line of standard output says where it listens, so that a program that asked for any free
 * port learns it. To be told to end is no failure: status 0 once all is closed.
 */
import { once } from 'node:events';
import { isIP } from 'node:net';
import { type ByteString, toDisplay } from '../../base/bytes.ts';
import { EXIT, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { formatAddress, isRepositoryName } from '../../channel/net/peers.ts';
import { openClock } from '../../host/mod.ts';
import type { ListenAddress } from '../../monitor/listener.ts';
import { openLogger } from '../../monitor/logger.ts';
import { createMonitor } from '../../monitor/monitor.ts';
import { keepThreads } from '../../pipe/mod.ts';
import { MONITOR_PORT, parseAddress } from '../address.ts';
import type { Invocation } from '../invocation.ts';
import { ensureStateDirectory } from '../state-folder.ts';
import { programVersion } from '../version.ts';

const LISTEN_DEFAULT: ListenAddress = { host: '0.0.0.0', port: MONITOR_PORT };

export default async function run(invocation: Invocation<'serve'>): Promise<number> {
  const { options, output, signal, stateDirectory } = invocation;
  const listen = options.listen.map(listenAddress);
  const repositories = repositoriesOf(options.repo);
  ensureStateDirectory(stateDirectory);
  const clock = openClock();
  const log = openLogger({
    format: options.log,
    verbose: output.verbose,
    clock,
    write: (line) => output.logLine(line),
  });
  keepThreads(LIMITS.idleThreadsMax);
  const monitor = await createMonitor({
    stateDirectory,
    listen: listen.length === 0 ? [LISTEN_DEFAULT] : listen,
    repositories,
    pipes: {
      commands: commandsOf(options.modules),
      devices: devicesOf(options.devices),
      ...(options.memoryBytes === undefined ? {} : { memoryBytes: options.memoryBytes }),
    },
    log,
    version: programVersion(),
    clock,
  });
  try {
    const { fingerprint } = monitor;
    for (const { host, port } of monitor.addresses) {
      const url = `https://${formatAddress(host, port)}`;
      output.entry({ type: 'listening', url, host, port, fingerprint });
      output.line(`listening on ${url} fingerprint ${fingerprint}`);
    }
    await output.settled();
    log.info('started', { repositories: [...repositories.keys()].join(' ') });
    if (!signal.aborted) await once(signal, 'abort');
    log.info('stopping');
  } finally {
    await monitor.close(options.drainMs ?? LIMITS.monitorDrainMs);
  }
  log.info('stopped');
  output.summary({ command: 'serve' }, '');
  return EXIT.ok;
}

/** Words of commands by name, of `NAME=COMMAND`. */
function commandsOf(given: readonly string[]): Map<string, readonly string[]> {
  const commands = new Map<string, readonly string[]>();
  for (const text of given) {
    const [, name = '', command = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    const words = command.split(' ').filter((word) => word !== '');
    if (name === '' || words.length === 0) {
      throw new PenstockError('USAGE', `--module takes NAME=COMMAND, not ${text}`);
    }
    if (commands.has(name)) throw new PenstockError('USAGE', `--module names ${name} twice`);
    commands.set(name, words);
  }
  return commands;
}

/** Counts by name, of `NAME=COUNT`. */
function devicesOf(given: readonly string[]): Map<string, number> {
  return new Map(
    given.map((text) => {
      const [, name = '', count = ''] = /^([^=]{1,64})=([1-9]\d{0,3})$/.exec(text) ?? [];
      if (name !== '') return [name, Number(count)];
      throw new PenstockError('USAGE', `--device takes NAME=COUNT, not ${text}`);
    }),
  );
}

function listenAddress(text: string): ListenAddress {
  const address = parseAddress(text, LISTEN_DEFAULT.port);
  if (isIP(address.host) !== 0 || address.host === 'localhost') return address;
  throw new PenstockError('USAGE', `--listen takes an address of this machine, not ${text}`, {
    hint: 'such as 0.0.0.0:7420 or [::]:7420',
  });
}

/** Directories by name, of `NAME=DIR`. */
function repositoriesOf(given: readonly ByteString[]): Map<string, ByteString> {
  const repositories = new Map<string, ByteString>();
  for (const text of given) {
    const equals = text.indexOf('=');
    const name = text.slice(0, Math.max(0, equals));
    const directory = text.slice(equals + 1);
    if (!isRepositoryName(name) || !directory.startsWith('/')) {
      throw new PenstockError('USAGE', `--repo takes NAME=DIR, not ${toDisplay(text)}`, {
        hint: 'the name of letters, digits, dots and dashes; the directory absolute',
      });
    }
    if (repositories.has(name)) {
      throw new PenstockError('USAGE', `--repo names ${name} twice`);
    }
    repositories.set(name, directory);
  }
  return repositories;
}
