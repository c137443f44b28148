/**
 * Where the program's own code lies that is found by its name: what threads load.
 *
 * Contract: from sources each file is where its name says. In the package (scripts/build.ts) all files lie in
 * one folder, this one as a part of one of them: `pipe/runner` is pipe-runner.js there.
 */
const IS_SOURCE = import.meta.url.endsWith('.ts');
const FOLDER = new URL(IS_SOURCE ? '../' : './', import.meta.url);

/** Such as `pipe/runner`, from src/ on; `pipe/worker.js`, which is the same in both. */
export function codeFile(name: string): URL {
  if (!IS_SOURCE) return new URL(`${name.replace(/\.js$/, '').replaceAll('/', '-')}.js`, FOLDER);
  return new URL(name.endsWith('.js') ? name : `${name}.ts`, FOLDER);
}

/** Such as `package.json`. */
export function packageFile(name: string): URL {
  return new URL(`../${name}`, FOLDER);
}
