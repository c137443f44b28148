/**
 * Where the code of a pipe's modules lies: beside this file, from source or compiled.
 */
import { codeFile } from '../base/code-file.ts';

/** URL of src/modules/<name>.ts, or of what it was compiled to. */
export function moduleFile(name: string): URL {
  return codeFile(`modules/${name}`);
}
