/**
 * Where the code of a pipe's modules lies: beside this file, from source or compiled.
 */

/** URL of src/modules/<name>.ts, or of what it was compiled to. */
export function moduleFile(name: string): URL {
  const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  return new URL(`../modules/${name}${ending}`, import.meta.url);
}
