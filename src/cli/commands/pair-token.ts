/**
 * `penstock pair token`: makes a one-time pairing token, on the server.
 *
 * It writes into the state folder, where a running daemon finds it: no connection is needed, and
 * whoever may write there may pair.
 */
import { hostname } from 'node:os';
import { toDisplay } from '../../base/bytes.ts';
import { EXIT, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { openIdentity } from '../../channel/net/identity.ts';
import { PendingTokens } from '../../channel/net/pairing.ts';
import { formatAddress, isRepositoryName } from '../../channel/net/peers.ts';
import { MONITOR_PORT } from '../../channel/net/ports.ts';
import { StateFolder } from '../../channel/net/state-folder.ts';
import { openRandom } from '../../host/mod.ts';
import { isModuleName } from '../../monitor/pipe-modules.ts';
import { parseAddress } from '../address.ts';
import type { Invocation } from '../invocation.ts';
import { ensureStateDirectory } from '../state-folder.ts';

export default async function run(invocation: Invocation<'pair token'>): Promise<number> {
  const { options, output, stateDirectory } = invocation;
  const { repo, access: level, copyPaths, modules } = options;
  const onward = options.onward.map(onwardAddress);
  for (const name of repo) {
    if (!isRepositoryName(name)) {
      throw new PenstockError('USAGE', `--repo takes the name of a repository, not ${name}`, {
        hint: 'the name that `penstock serve --repo NAME=DIR` gives it',
      });
    }
  }
  for (const path of copyPaths) {
    if (!path.startsWith('/')) {
      throw new PenstockError('USAGE', `--copy-path is not absolute: ${toDisplay(path)}`);
    }
  }
  for (const name of modules) {
    if (!isModuleName(name)) {
      throw new PenstockError('USAGE', `--module takes the name of a module, not ${name}`, {
        hint: 'a name that `penstock serve --module NAME=COMMAND` gives it, or `unbound`',
      });
    }
  }
  if (modules.length > LIMITS.peerModulesMax) {
    throw new PenstockError('LIMIT', `more than ${LIMITS.peerModulesMax} modules`);
  }
  if (onward.length > LIMITS.peerOnwardMax) {
    throw new PenstockError('LIMIT', `more than ${LIMITS.peerOnwardMax} machines`);
  }
  if (copyPaths.length > LIMITS.copyPathsMax) {
    throw new PenstockError('LIMIT', `more than ${LIMITS.copyPathsMax} folders`);
  }
  ensureStateDirectory(stateDirectory);
  const state = new StateFolder(stateDirectory);
  const identity = await openIdentity(state);
  const tokens = new PendingTokens(state, invocation);
  const access = (repo.length === 0 ? ['*'] : repo).map((repository) => ({ repository, level }));
  const { token, expiresMs } = tokens.create(
    identity,
    { access, copyPaths, modules, onward, quotaBytes: options.quotaBytes },
    openRandom(),
  );
  const { fingerprint } = identity;
  if (!output.json) output.line(token);
  output.summary(
    { command: 'pair token', token, fingerprint, expiresMs, access },
    `good for one machine until ${new Date(expiresMs).toISOString()}; there, run:\n` +
      `  penstock pair ${hostname()} --token ${token}`,
  );
  return EXIT.ok;
}

/** The address of a server, as `pair` stores it. */
function onwardAddress(text: string): string {
  const { host, port } = parseAddress(text, MONITOR_PORT);
  return formatAddress(host, port);
}
