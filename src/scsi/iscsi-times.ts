/**
 * How long things may take between initiator and target. Tests shorten them.
 */
import { LIMITS } from '../base/limits.ts';

export interface IscsiTimes {
  readonly connectMs: number;
  readonly loginMs: number;
  /** Nothing was heard for so long while something is expected: a ping. */
  readonly pingMs: number;
  /** Nothing was heard for so long in spite of it: the connection is lost. */
  readonly silenceMs: number;
  /** For taking a command back, and for logging out. */
  readonly endMs: number;
  /** How often all that is looked at. */
  readonly tickMs: number;
}

export const ISCSI_TIMES: IscsiTimes = {
  connectMs: LIMITS.iscsiConnectMs,
  loginMs: LIMITS.iscsiLoginMs,
  pingMs: LIMITS.iscsiPingMs,
  silenceMs: LIMITS.iscsiSilenceMs,
  endMs: LIMITS.iscsiEndMs,
  tickMs: LIMITS.iscsiTickMs,
};
