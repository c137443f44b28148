/**
 * Loads the packages with binaries.
 *
 * Contract: the first thread that needs one has the package's own loader find the binary of this
 * platform, which takes milliseconds (it reads programs to tell C libraries apart). Other threads are told the
 * file that it found (`nativeFiles`, `useNativeFiles`) and open just that. Where there is none, or it
 * cannot be opened, the loader is asked again.
 */
import { createRequire } from 'node:module';

export type NativePackage = 'koffi' | '@napi-rs/blake-hash' | '@node-rs/crc32';

/** Files of binaries by the name of their package. */
export type NativeFiles = Readonly<Record<string, string>>;

let files: NativeFiles = {};

/** What this process has found so far. */
export function nativeFiles(): NativeFiles {
  return files;
}

/** Takes what another thread of this process has found. */
export function useNativeFiles(found: NativeFiles): void {
  files = { ...found, ...files };
}

/** Throws where the package has no binary for this platform. */
export function loadNative(name: NativePackage): unknown {
  const file = files[name];
  return (file === undefined ? undefined : open(file)) ?? find(name);
}

function open(file: string): unknown {
  const module = { exports: {} };
  try {
    process.dlopen(module, file);
  } catch {
    return undefined;
  }
  return module.exports;
}

function find(name: NativePackage): unknown {
  const require = createRequire(import.meta.url);
  const before = new Set(Object.keys(require.cache));
  const loaded: unknown = require(name);
  const [file, more] = Object.keys(require.cache).filter(
    (path) => path.endsWith('.node') && !before.has(path),
  );
  // Several, or something that is no binary: only the loader knows.
  if (file !== undefined && more === undefined) files = { ...files, [name]: file };
  return loaded;
}
