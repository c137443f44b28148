/**
 * What a check finds: damaged objects, each named once, with the archives and some of the paths that
 * they concern.
 */
import type { ByteString } from '../base/bytes.ts';

/** Paths that are named of one damaged object; the others are counted. */
const PATHS_NAMED = 20;
/** Up to here a path that several archives have counts once. */
const PATHS_DISTINCT = 100_000;

export class Damage {
  /** `chunk`, `index segment`, `archive`, `key`, `foreign file` … */
  readonly what: string;
  readonly id: string;
  readonly #messages: string[] = [];
  readonly #archives = new Set<string>();
  readonly #paths = new Set<ByteString>();
  #more = 0;

  constructor(what: string, id: string) {
    this.what = what;
    this.id = id;
  }
  /** What is wrong, the first few things of it. */
  get message(): string {
    const shown = this.#messages.slice(0, 3).join('; ');
    const more = this.#messages.length - 3;
    return more > 0 ? `${shown}; and ${more} more` : shown;
  }
  /** Ids of the archives that it concerns. */
  get archives(): readonly string[] {
    return [...this.#archives];
  }
  /** Some of the paths that it concerns. */
  get paths(): readonly ByteString[] {
    return [...this.#paths].slice(0, PATHS_NAMED);
  }
  get pathsTotal(): number {
    return this.#paths.size + this.#more;
  }
  say(message: string): this {
    if (message !== '' && !this.#messages.includes(message)) this.#messages.push(message);
    return this;
  }
  concern(archive: string): this {
    this.#archives.add(archive);
    return this;
  }
  addPath(path: ByteString): this {
    if (this.#paths.has(path)) return this;
    if (this.#paths.size < PATHS_DISTINCT) this.#paths.add(path);
    else this.#more++;
    return this;
  }
}

export class DamageList {
  readonly #all = new Map<string, Damage>();

  get size(): number {
    return this.#all.size;
  }
  /** The damage of an object, with one more thing that is wrong. */
  report(what: string, id: string, message: string): Damage {
    const key = `${what} ${id}`;
    let damage = this.#all.get(key);
    if (damage === undefined) {
      damage = new Damage(what, id);
      this.#all.set(key, damage);
    }
    return damage.say(message);
  }
  has(what: string, id: string): boolean {
    return this.#all.has(`${what} ${id}`);
  }
  all(): readonly Damage[] {
    return [...this.#all.values()];
  }
}
