/**
 * Goal: the number of connections follows from how far it is. Method: known ways, short and long.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../../base/limits.ts';
import { connectionsFor, noteConnected, roundTripMsOf } from './distance.ts';

test('more connections are chosen for longer ways, and on short ones for more processors', () => {
  const chosen = (roundTripMs: number) =>
    [1, 2, 3, 4, 64].map((cores) => connectionsFor(roundTripMs, cores));
  deepEqual(chosen(0.1), [2, 2, 3, 4, 4]);
  deepEqual(chosen(9.9), chosen(0.1));
  deepEqual(chosen(10), [4, 4, 4, 4, 4]);
  deepEqual(chosen(40), [8, 8, 8, 8, 8]);
  deepEqual(chosen(1000), chosen(40));
  equal(connectionsFor(1000, 1), LIMITS.agentsDefaultMax);
  const spread = [0, 1, 2, 3, 8, 9].map((addresses) => connectionsFor(50, 2, addresses));
  deepEqual(spread, [8, 8, 8, 9, 8, 9]);
});

test('a connection takes two round trips to come about', () => {
  const socket = {};
  equal(roundTripMsOf(socket), 0);
  noteConnected(socket, 30);
  equal(roundTripMsOf(socket), 15);
});
