/**
 * How far away another machine is, and how many connections fill the way to it.
 *
 * Contract: the round trip is what it takes to connect, of which one half is TCP's and the other TLS's; so it
 * is a little more than the way alone takes. Few connections on a short way: they share the processors
 * with all else. On a long one each has no more under way than its window.
 */
import { LIMITS } from '../../base/limits.ts';

/** From so many milliseconds on there are so many connections. */
const LONG_WAYS = [
  { roundTripMs: 40, connections: LIMITS.agentsDefaultMax },
  { roundTripMs: 10, connections: LIMITS.agentsShortMax },
] as const;

/**
 * Connections to a machine that is so far away, where nobody has said how many; as many from each of so many
 * addresses.
 */
export function connectionsFor(roundTripMs: number, cores: number, addresses = 1): number {
  const long = LONG_WAYS.find((way) => roundTripMs >= way.roundTripMs);
  const short = Math.max(LIMITS.agentsLeast, Math.min(cores, LIMITS.agentsShortMax));
  const each = Math.max(1, addresses);
  return each * Math.ceil((long?.connections ?? short) / each);
}

const roundTrips = new WeakMap<object, number>();

/** Notes how long a connection took to come about, name look-up excepted. */
export function noteConnected(socket: object, elapsedMs: number): void {
  roundTrips.set(socket, elapsedMs / 2);
}

/** The round trip of a connection, in milliseconds; 0 where it was not measured. */
export function roundTripMsOf(socket: object): number {
  return roundTrips.get(socket) ?? 0;
}
