/**
 * Addresses of drives and libraries: `iscsi://[user@]host[:port]/iqn.…/lun`.
 *
 * Contract: what is wrong is said as USAGE, with the form that is right. A secret in an address is refused:
 * arguments can be seen by everybody on the machine.
 */
import { isIPv6 } from 'node:net';
import { PenstockError } from '../base/errors.ts';
import { ISCSI_PORT, type Portal } from './iscsi-open.ts';

export interface IscsiAddress extends Portal {
  /** For CHAP. */
  readonly user?: string;
  readonly target: string;
  readonly lun: number;
}

const FORM = 'iscsi://[USER@]HOST[:PORT]/TARGET/LUN';
const HOST =
  /^(?:(?<user>[^@/]*)@)?(?:\[(?<six>[^\]]*)\]|(?<name>[^:@/[\]]*))(?::(?<port>[^/]*))?$/;
/** RFC 7143, 4.2.7: iqn, eui or naa, of up to 223 characters. */
const TARGET =
  /^(?:iqn\.\d{4}-\d{2}\.[a-z0-9][a-z0-9.:-]*|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16}(?:[0-9a-f]{16})?)$/;
const NAME_LENGTH_MAX = 223;
const LUN_MAX = 16_383;

export function isIscsiAddress(text: string): boolean {
  return text.startsWith('iscsi://');
}

/** @throws PenstockError USAGE */
export function parseIscsiAddress(text: string): IscsiAddress {
  if (!isIscsiAddress(text)) wrong(text, 'it does not begin with iscsi://');
  const parts = text.slice('iscsi://'.length).split('/');
  const [authority = '', target = '', lunText] = parts;
  if (parts.length !== 3 || lunText === undefined) wrong(text, 'it has other parts');
  const { user: userText, six, name, port: portText } = HOST.exec(authority)?.groups ?? {};
  // Never shown: it may be the secret that somebody wrote there.
  if (userText?.includes(':')) {
    throw new PenstockError('USAGE', 'the address of a drive has no place for a secret', {
      hint: 'put it into a file, and its name into PENSTOCK_CHAP_SECRET_FILE',
    });
  }
  const host = six ?? name ?? '';
  if (host === '' || /\s/.test(host) || (six !== undefined && !isIPv6(six))) {
    wrong(text, 'its host is no name and no address');
  }
  const port = portText === undefined ? ISCSI_PORT : Number(portText);
  if (
    !/^\d{1,5}$/.test(portText ?? '0') ||
    port > 65_535 ||
    (portText !== undefined && port === 0)
  ) {
    wrong(text, `its port is ${portText}`);
  }
  const wanted = target.toLowerCase();
  if (wanted.length > NAME_LENGTH_MAX || !TARGET.test(wanted)) {
    wrong(text, 'its target is no name such as iqn.2001-04.com.example:drive-1');
  }
  const lun = /^\d{1,5}$/.test(lunText) ? Number(lunText) : Number.NaN;
  if (!(lun <= LUN_MAX)) wrong(text, `its logical unit is ${lunText || 'missing'}`);
  const user = userText === undefined ? undefined : decodeUser(text, userText);
  return { host, port, target: wanted, lun, ...(user === undefined ? {} : { user }) };
}

function decodeUser(text: string, user: string): string {
  let decoded = '';
  try {
    decoded = decodeURIComponent(user);
  } catch {
    // Said below.
  }
  if (!/^[\x20-\x7e]{1,255}$/.test(decoded)) wrong(text, 'its user is no name');
  return decoded;
}

/** The address again, as people know it. */
export function formatIscsiAddress({ user, host, port, target, lun }: IscsiAddress): string {
  const who = user === undefined ? '' : `${encodeURIComponent(user)}@`;
  const where = isIPv6(host) ? `[${host}]` : host;
  const at = port === ISCSI_PORT ? '' : `:${port}`;
  return `iscsi://${who}${where}${at}/${target}/${lun}`;
}

function wrong(text: string, why: string): never {
  throw new PenstockError('USAGE', `not the address of a drive or library: ${text}: ${why}`, {
    hint: `write ${FORM}`,
  });
}
