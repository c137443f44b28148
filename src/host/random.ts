/**
 * The port `Random`: bytes that nobody can foresee.
 *
 * Contract: `openRandom` is the system's generator, fit for keys. `seededRandom` is for tests only:
 * whoever knows the seed knows every byte.
 */
import { openKeyMaterial } from './key-material.ts';

export interface Random {
  bytes(count: number): Buffer;
  /** Fills the whole view, which may lie on shared memory. */
  fill(view: Uint8Array): void;
}

const SYSTEM_RANDOM: Random = Object.freeze({
  bytes: (count: number) => {
    const bytes = Buffer.alloc(count);
    openKeyMaterial().fill(bytes);
    return bytes;
  },
  fill: (view: Uint8Array) => openKeyMaterial().fill(view),
});

export function openRandom(): Random {
  return SYSTEM_RANDOM;
}

/**
 * The same bytes for the same seed, whatever the sizes of the requests. FOR TESTS ONLY: never for
 * keys, nonces or salts of a repository that is kept.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  let word = 0;
  let left = 0;
  // splitmix32
  const next = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  const fill = (view: Uint8Array): void => {
    for (let i = 0; i < view.length; i++) {
      if (left === 0) {
        word = next();
        left = 4;
      }
      view[i] = word & 0xff;
      word >>>= 8;
      left -= 1;
    }
  };
  return {
    fill,
    bytes: (count) => {
      const bytes = Buffer.alloc(count);
      fill(bytes);
      return bytes;
    },
  };
}
