/**
 * Where the program's own code lies that is found by its name: what threads load.
 *
 * Contract: from sources and compiled, each file is where its name says; the ending differs.
 */
const FOLDER = new URL('../', import.meta.url);
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

/** Such as `pipe/runner`, from src/ or dist/ on; `pipe/worker.js`, which is the same in both. */
export function codeFile(name: string): URL {
  return new URL(name.endsWith('.js') ? name : name + ENDING, FOLDER);
}

/** Such as `package.json`. */
export function packageFile(name: string): URL {
  return new URL(`../${name}`, FOLDER);
}
