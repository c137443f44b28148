/**
 * Addresses of machines as people write them: `host`, `host:port`, `[::1]:port`.
 */
import { isIP, isIPv6 } from 'node:net';
import { PenstockError } from '../base/errors.ts';

export { MONITOR_PORT } from '../channel/net/ports.ts';

const PORT_MAX = 65_535;

export interface MachineAddress {
  readonly host: string;
  readonly port: number;
}

/** Splits an address; an IPv6 address with a port stands in brackets. USAGE. */
export function parseAddress(text: string, defaultPort: number): MachineAddress {
  const [, bracketed, plain, port] =
    /^(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/@[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = isIPv6(text) ? text : (bracketed ?? plain);
  const number = port === undefined ? defaultPort : Number(port);
  const isWrong = bracketed !== undefined && !isIPv6(bracketed);
  if (host === undefined || isWrong || number > PORT_MAX) {
    throw new PenstockError('USAGE', `not an address: ${text}`, {
      hint: 'write HOST, HOST:PORT or [IPV6]:PORT',
    });
  }
  return { host, port: number };
}

/** What `--local-address` names. USAGE. */
export function localAddressesOf(texts: readonly string[]): readonly string[] {
  const wrong = texts.find((text) => isIP(text) === 0);
  if (wrong === undefined) return texts;
  throw new PenstockError(
    'USAGE',
    `--local-address takes an address of this machine, not ${wrong}`,
    {
      hint: 'such as 192.0.2.1 or 2001:db8::1',
    },
  );
}
