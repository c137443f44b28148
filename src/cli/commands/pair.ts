/**
 * `penstock pair HOST --token T`: pairs this machine, as a client, with a server.
 */
import { hostname } from 'node:os';
import { EXIT, PenstockError } from '../../base/errors.ts';
import { openIdentity } from '../../channel/net/identity.ts';
import { decodeToken, pairWith } from '../../channel/net/pairing.ts';
import { isPeerName, Peers } from '../../channel/net/peers.ts';
import { StateFolder } from '../../channel/net/state-folder.ts';
import { MONITOR_PORT, parseAddress } from '../address.ts';
import type { Invocation } from '../invocation.ts';
import { ensureStateDirectory } from '../state-folder.ts';

export default async function run(invocation: Invocation<'pair'>): Promise<number> {
  const { options, output, positionals, stateDirectory } = invocation;
  const address = parseAddress(positionals.host, MONITOR_PORT);
  const token = decodeToken(options.token.trim());
  const name = options.name ?? hostname();
  if (!isPeerName(name)) {
    throw new PenstockError('USAGE', `--name is not fit for a machine: ${name}`);
  }
  ensureStateDirectory(stateDirectory);
  const state = new StateFolder(stateDirectory);
  const identity = await openIdentity(state);
  const own = { name, nowMs: invocation.nowMs(), signal: invocation.signal };
  const { server, answer } = await pairWith(identity, address, token, own);
  const stored = new Peers(state).put(server);
  const { calledName, access, repositories } = answer;
  output.summary(
    {
      command: 'pair',
      name: stored.name,
      address: stored.address,
      fingerprint: stored.fingerprint,
      calledName,
      access,
      repositories,
    },
    `paired with ${stored.name} (${stored.address}), which calls this machine ${calledName}` +
      repositories.map((one) => `\n  penstock://${stored.address}/${one}`).join(''),
  );
  return EXIT.ok;
}
