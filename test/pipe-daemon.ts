/**
 * A daemon for tests that is to be killed: a monitor whose list of modules has those of the tests.
 *
 * Usage: pipe-daemon.ts STATE-FOLDER [ADDRESS [REPOSITORY [PORT]]]. Serves the repository as `home`. Prints its
 * port and fingerprint as a line of JSON.
 */
import { openClock } from '../src/host/mod.ts';
import { openLogger } from '../src/monitor/logger.ts';
import { createMonitor } from '../src/monitor/monitor.ts';
import { allowFarModule } from '../src/monitor/pipe-modules.ts';
import { LOAD_MODULE } from './agent-load.ts';

const [directory = '', host = '127.0.0.1', repository, port = '0'] = process.argv.slice(2);
allowFarModule('test-load', { url: LOAD_MODULE, options: (sent) => sent });
const clock = openClock();
const monitor = await createMonitor({
  stateDirectory: directory,
  listen: [{ host, port: Number(port) }],
  repositories: new Map(repository === undefined ? [] : [['home', repository]]),
  version: '0.0.0',
  clock,
  log: openLogger({ format: 'json', clock, write: (line) => process.stderr.write(`${line}\n`) }),
});
process.stdout.write(
  `${JSON.stringify({ port: monitor.port, fingerprint: monitor.fingerprint })}\n`,
);
process.once('SIGTERM', () => void monitor.close(0));
