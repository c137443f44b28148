/**
 * Completes package-lock.json: `npm run lock`, after every change of a dependency.
 *
 * Packages with binaries name one optional package per platform. A registry mirror that holds only
 * some of them makes npm write a lock without the others, and `npm ci` then refuses that lock
 * everywhere. This writes the missing entries: version as named, platform read from the name (the
 * convention of napi-rs and of Biome), no checksum, since the file was not seen. They are skipped on
 * every platform that they are not for. A test of the tree (test/tree.test.ts) tells when to run it.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const LOCK = new URL('../package-lock.json', import.meta.url);

interface LockEntry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Lock {
  packages: Record<string, LockEntry>;
}

interface Missing {
  readonly name: string;
  readonly version: string;
  readonly dev: boolean;
}

/** Optional packages that a package of the lock names and the lock does not have. */
export function missingOptionalPackages(lock: Lock): Missing[] {
  const missing = new Map<string, Missing>();
  for (const entry of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const present = Object.keys(lock.packages).some((key) =>
        key.endsWith(`node_modules/${name}`),
      );
      if (!present) missing.set(name, { name, version, dev: entry.dev === true });
    }
  }
  return [...missing.values()];
}

const SYSTEMS = [
  'android',
  'darwin',
  'freebsd',
  'netbsd',
  'openbsd',
  'openharmony',
  'linux',
  'sunos',
  'win32',
];
const PROCESSORS = [
  'arm64',
  'arm',
  'x64',
  'ia32',
  'loong64',
  'mips64el',
  'ppc64',
  'riscv64',
  's390x',
  'wasm32',
];

function platformEntry(missing: Missing): object {
  const words = missing.name.slice(missing.name.lastIndexOf('/') + 1).split('-');
  const system = SYSTEMS.find((name) => words.includes(name));
  const processor = PROCESSORS.find((name) => words.includes(name));
  if (system === undefined || processor === undefined) {
    throw new Error(`cannot tell the platform of ${missing.name}: write its entry by hand`);
  }
  if (!/^\d+\.\d+\.\d+$/.test(missing.version)) {
    throw new Error(
      `${missing.name} is named with a range, ${missing.version}: write its entry by hand`,
    );
  }
  const library = words.some((word) => word.startsWith('musl')) ? 'musl' : 'glibc';
  return {
    version: missing.version,
    cpu: [processor],
    ...(missing.dev ? { dev: true } : {}),
    ...(system === 'linux' ? { libc: [library] } : {}),
    optional: true,
    os: [system],
  };
}

function completeLock(): void {
  const lock: Lock = JSON.parse(readFileSync(LOCK, 'utf8'));
  const missing = missingOptionalPackages(lock);
  for (const one of missing) lock.packages[`node_modules/${one.name}`] = platformEntry(one);
  const order = (a: string, b: string): number => a.localeCompare(b, 'en');
  const sorted = Object.entries(lock.packages).sort(([a], [b]) => order(a, b));
  lock.packages = Object.fromEntries(sorted);
  writeFileSync(LOCK, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`package-lock.json: ${missing.length} entries added`);
}

if (process.argv[1] === import.meta.filename) completeLock();
