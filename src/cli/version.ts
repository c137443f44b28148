/**
 * The version of this program, from package.json.
 */

import { readFileSync } from 'node:fs';
import { packageFile } from '../base/code-file.ts';

/** Such as `0.1.0`. */
export function programVersion(): string {
  const text = readFileSync(packageFile('package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
