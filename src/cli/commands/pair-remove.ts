/**
 * `penstock pair remove NAME`: ends the pairing with a machine, by its name or fingerprint.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { type Peer, Peers } from '../../channel/net/peers.ts';
import { StateFolder } from '../../channel/net/state-folder.ts';
import type { Invocation } from '../invocation.ts';

const PREFIX_MIN = 4;

export default async function run(invocation: Invocation<'pair remove'>): Promise<number> {
  const { output, positionals, stateDirectory } = invocation;
  const peers = new Peers(new StateFolder(stateDirectory));
  const { name, kind, fingerprint } = onePeer(peers.list(), positionals.peer);
  peers.remove(fingerprint, kind);
  output.summary(
    { command: 'pair remove', name, kind, fingerprint },
    `${name} (${kind}) is no longer paired`,
  );
  return EXIT.ok;
}

/** The one peer that is meant. A machine may be both client and server: then its kind decides. */
function onePeer(peers: readonly Peer[], wanted: string): Peer {
  const [, kind, name = wanted] = /^(client|server):(.+)$/.exec(wanted) ?? [];
  const candidates = peers.filter((peer) => kind === undefined || peer.kind === kind);
  const named = candidates.filter((peer) => peer.name === name);
  const byFingerprint = candidates.filter(
    ({ fingerprint }) => name.length >= PREFIX_MIN && fingerprint.startsWith(name),
  );
  const found = named.length > 0 ? named : byFingerprint;
  const [peer] = found;
  if (peer !== undefined && found.length === 1) return peer;
  if (peer === undefined) {
    throw new PenstockError('PEER_UNKNOWN', `this machine is not paired with ${wanted}`);
  }
  throw new PenstockError('PEER_UNKNOWN', `${wanted} may be one of ${found.length} machines`, {
    hint: `name it by its fingerprint, or as ${found.map((one) => `${one.kind}:${one.name}`).join(' or ')}`,
  });
}
