/**
 * Where the code of a module is. Apart, so that threads can be started ahead (warm.ts) before the rest
 * of the pipe is loaded.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The URL that a thread imports a module from: a path, or a file: or data: URL. */
export function moduleUrl(module: string | URL): string {
  if (module instanceof URL) return module.href;
  return /^(file|data):/.test(module) ? module : pathToFileURL(resolve(module)).href;
}
