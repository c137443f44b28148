/**
 * `penstock pair list`: lists the machines that this one is paired with.
 */
import { toDisplay, toJsonPath } from '../../base/bytes.ts';
import { EXIT } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import { type Peer, Peers } from '../../channel/net/peers.ts';
import { StateFolder } from '../../channel/net/state-folder.ts';
import type { Invocation } from '../invocation.ts';
import { textTable } from '../text-table.ts';

const FINGERPRINT_SHOWN = 16;

export default async function run(invocation: Invocation<'pair list'>): Promise<number> {
  const { output, stateDirectory } = invocation;
  const peers = new Peers(new StateFolder(stateDirectory)).list();
  for (const peer of peers) {
    output.entry({ type: 'peer', ...peer, copyPaths: peer.copyPaths.map(toJsonPath) });
  }
  if (!output.json) for (const line of peerTable(peers)) output.line(line);
  output.summary({ command: 'pair list', peers: peers.length }, '');
  return EXIT.ok;
}

function peerTable(peers: readonly Peer[]): string[] {
  const columns = ['kind', 'name', 'fingerprint', 'paired', 'may'].map((title) => ({ title }));
  const rows = peers.map((peer) => [
    peer.kind,
    peer.name,
    peer.fingerprint.slice(0, FINGERPRINT_SHOWN),
    new Date(peer.pairedMs).toISOString().slice(0, 10),
    peer.kind === 'server' ? `be used at ${peer.address ?? '?'}` : grantText(peer),
  ]);
  return textTable(columns, rows);
}

function grantText({ access, quotaBytes, copyPaths, modules = [], onward = [] }: Peer): string {
  return [
    ...access.map(({ repository, level }) => `${level} ${repository === '*' ? 'all' : repository}`),
    ...(quotaBytes === undefined ? [] : [`fill each to ${formatBytes(quotaBytes)}`]),
    ...copyPaths.map((path) => `copy in ${toDisplay(path)}`),
    ...modules.map((name) => `use module ${name}`),
    ...onward.map((address) => `reach ${address}`),
  ].join(', ');
}
