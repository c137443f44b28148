/**
 * Loads the packages with binaries.
 *
 * Contract: the first thread that needs one looks where the binary of this platform lies after an ordinary
 * installation; the package's own loader takes up to ten milliseconds to find it (it reads programs to tell C libraries
 * apart). Other threads are told the file (`nativeFiles`, `useNativeFiles`) and open just that. Where there is none, or
 * it cannot be opened, the loader is asked.
 */
import { existsSync } from 'node:fs';
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
  const file = files[name] ?? usualFile(name);
  const module = file === undefined ? undefined : open(file);
  if (module === undefined) return find(name);
  files = { ...files, [name]: file as string };
  return module;
}

/** What the packages of binaries for Linux with glibc hold. */
const USUAL: Readonly<Record<NativePackage, (architecture: string) => string>> = {
  koffi: (architecture) => `@koromix/koffi-linux-${architecture}/linux_${architecture}/koffi.node`,
  '@napi-rs/blake-hash': (architecture) => `@napi-rs/blake-hash-linux-${architecture}-gnu`,
  '@node-rs/crc32': (architecture) => `@node-rs/crc32-linux-${architecture}-gnu`,
};
/** With another C library the same binaries may load, by means of a layer between, and fail later. */
const MUSL: Readonly<Record<string, string>> = {
  x64: '/lib/ld-musl-x86_64.so.1',
  arm64: '/lib/ld-musl-aarch64.so.1',
};

function usualFile(name: NativePackage): string | undefined {
  const { arch, platform } = process;
  const musl = MUSL[arch];
  if (platform !== 'linux' || musl === undefined || existsSync(musl)) return undefined;
  try {
    // From the package itself: not every installer puts what it needs beside it.
    const itself = createRequire(import.meta.url).resolve(name);
    return createRequire(itself).resolve(USUAL[name](arch));
  } catch {
    // Not installed, or not in the usual way.
    return undefined;
  }
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
