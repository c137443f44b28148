/**
 * The C library, called directly: the only place, with codec-native.ts, hash.ts and
 * package.ts beside it, that loads or calls native code.
 *
 * Contract: loading happens at the first use in a thread, never at import, so that a platform
 * without it can still say so. Functions that C declares with `…` are declared here with the
 * arguments that they are given: on Linux, on x64 and arm64, both are passed alike. Sizes and
 * offsets are 64 bits. Pointers are buffers; whoever calls sees to it that they are long enough.
 * A call that fails answers its negative errno.
 */
import { loadNative } from './package.ts';

/** A Uint8Array stands for its address; null for NULL. */
export type CArgument = number | bigint | Uint8Array | null;
export type CFunction = (...parameters: CArgument[]) => number;

/** A loaded library, or the running program itself with what it was linked with. */
export interface NativeLibrary {
  /** Declares one function; throws if the library has no such symbol. */
  declare(name: string, result: string, parameters: readonly string[]): CFunction;
  has(name: string): boolean;
}

interface Koffi {
  load(path: string | null): {
    func(name: string, result: string, parameters: readonly string[]): CFunction;
    symbol(name: string): unknown;
  };
  address(value: Uint8Array): bigint;
  view(address: number, bytes: number): ArrayBuffer;
}

let koffi: Koffi | undefined;

/** Throws where the package has no binary for this platform. */
function loadKoffi(): Koffi {
  koffi ??= loadNative('koffi') as Koffi;
  return koffi;
}

/** What is linked into the running program: the C library, and Node's own OpenSSL and zstd. */
export function loadProgram(): NativeLibrary {
  const library = loadKoffi().load(null);
  return {
    declare: (name, result, parameters) => library.func(name, result, parameters),
    has: (name) => {
      try {
        library.symbol(name);
        return true;
      } catch {
        return false;
      }
    },
  };
}

/** Result and parameters of functions, by their names. */
export type Signatures = Readonly<Record<string, readonly [string, readonly string[]]>>;

/** All of these functions of the program; undefined where it lacks one. */
export function declareAll<Table extends Signatures>(
  signatures: Table,
): Readonly<Record<keyof Table, CFunction>> | undefined {
  const program = loadProgram();
  const found: Record<string, CFunction> = {};
  for (const [name, [result, parameters]] of Object.entries(signatures)) {
    if (!program.has(name)) return undefined;
    found[name] = program.declare(name, result, parameters);
  }
  return found as Record<keyof Table, CFunction>;
}

/**
 * Declares a function that returns a negative number where it fails, and its reason in `errno`: this one answers
 * the negative errno instead.
 *
 * What runs between two lines of JavaScript (a collection, a compiler) may change `errno`, too. So it is read from
 * where it lies, with no call of any kind after that of the function, and always, not in a branch: one that was
 * never taken may be compiled only now.
 */
export function declareCall(
  program: NativeLibrary,
  name: string,
  result: string,
  parameters: readonly string[],
): CFunction {
  const call = program.declare(name, result, parameters);
  const errno = errnoOfThread(program);
  // Should the reason be lost, it must not become a success.
  return (a, b, c, d, e, f) => {
    const returned = call(a, b, c, d, e, f);
    const reason = errno[0] as number;
    return returned < 0 ? -(reason || EIO) : returned;
  };
}

/** Where the C library keeps this thread's `errno`. */
function errnoOfThread(program: NativeLibrary): Int32Array {
  if (errnoWord === undefined) {
    const address = program.declare('__errno_location', 'void *', [])();
    errnoWord = new Int32Array(loadKoffi().view(address, Int32Array.BYTES_PER_ELEMENT));
  }
  return errnoWord;
}

let errnoWord: Int32Array | undefined;

/** Where a buffer lies. */
export function addressOf(bytes: Uint8Array): number {
  return Number(loadKoffi().address(bytes));
}

const EIO = 5;

const INT = 'int';
const U32 = 'uint32_t';
const I64 = 'int64_t';
const POINTER = 'void *';

const SIGNATURES = {
  openat: [INT, [INT, POINTER, INT, U32]],
  close: [INT, [INT]],
  pread: [I64, [INT, POINTER, I64, I64]],
  pwrite: [I64, [INT, POINTER, I64, I64]],
  lseek: [I64, [INT, I64, INT]],
  ftruncate: [INT, [INT, I64]],
  fallocate: [INT, [INT, INT, I64, I64]],
  fsync: [INT, [INT]],
  fdatasync: [INT, [INT]],
  syncfs: [INT, [INT]],
  flock: [INT, [INT, INT]],
  mkdirat: [INT, [INT, POINTER, U32]],
  unlinkat: [INT, [INT, POINTER, INT]],
  renameat: [INT, [INT, POINTER, INT, POINTER]],
  linkat: [INT, [INT, POINTER, INT, POINTER, INT]],
  symlinkat: [INT, [POINTER, INT, POINTER]],
  readlinkat: [I64, [INT, POINTER, POINTER, I64]],
  mknodat: [INT, [INT, POINTER, U32, I64]],
  fchmodat: [INT, [INT, POINTER, U32, INT]],
  fchmod: [INT, [INT, U32]],
  fchownat: [INT, [INT, POINTER, U32, U32, INT]],
  fchown: [INT, [INT, U32, U32]],
  utimensat: [INT, [INT, POINTER, POINTER, INT]],
  futimens: [INT, [INT, POINTER]],
  flistxattr: [I64, [INT, POINTER, I64]],
  llistxattr: [I64, [POINTER, POINTER, I64]],
  fgetxattr: [I64, [INT, POINTER, POINTER, I64]],
  lgetxattr: [I64, [POINTER, POINTER, POINTER, I64]],
  fsetxattr: [INT, [INT, POINTER, POINTER, I64, INT]],
  lsetxattr: [INT, [POINTER, POINTER, POINTER, I64, INT]],
  fremovexattr: [INT, [INT, POINTER]],
  lremovexattr: [INT, [POINTER, POINTER]],
  fstatvfs: [INT, [INT, POINTER]],
  getrlimit: [INT, [INT, POINTER]],
  setrlimit: [INT, [INT, POINTER]],
  prctl: [INT, [INT, I64, I64, I64, I64]],
  getpwuid_r: [INT, [U32, POINTER, POINTER, I64, POINTER]],
  getpwnam_r: [INT, [POINTER, POINTER, POINTER, I64, POINTER]],
  getgrgid_r: [INT, [U32, POINTER, POINTER, I64, POINTER]],
  getgrnam_r: [INT, [POINTER, POINTER, POINTER, I64, POINTER]],
} as const satisfies Signatures;

/** Those that older or smaller C libraries lack, with the numbers of their system calls. */
const SYSTEM_CALLS = {
  statx: [INT, [INT, POINTER, INT, U32, POINTER], { x64: 332, arm64: 291 }],
  getdents64: [I64, [INT, POINTER, I64], { x64: 217, arm64: 61 }],
  renameat2: [INT, [INT, POINTER, INT, POINTER, U32], { x64: 316, arm64: 276 }],
  listxattrat: [I64, [INT, POINTER, U32, POINTER, I64], { x64: 465, arm64: 465 }],
} as const satisfies Record<
  string,
  readonly [string, readonly string[], { readonly x64: number; readonly arm64: number }]
>;

export type Libc = Readonly<Record<keyof typeof SIGNATURES | keyof typeof SYSTEM_CALLS, CFunction>>;

/**
 * Declares everything above; 0.4 ms, once a thread.
 *
 * @param program a test gives one that lacks functions
 */
export function loadLibc(
  architecture: 'x64' | 'arm64',
  program: NativeLibrary = loadProgram(),
): Libc {
  const functions: Record<string, CFunction> = {};
  for (const [name, [result, parameters]] of Object.entries(SIGNATURES)) {
    functions[name] = declareCall(program, name, result, parameters);
  }
  for (const [name, [result, parameters, numbers]] of Object.entries(SYSTEM_CALLS)) {
    if (program.has(name)) {
      functions[name] = declareCall(program, name, result, parameters);
      continue;
    }
    const number = numbers[architecture];
    const call = declareCall(program, 'syscall', I64, [I64, ...parameters]);
    // By name: parameters that are gathered and spread again cost as much as the call.
    functions[name] = (a, b, c, d, e) => call(number, a, b, c, d, e);
  }
  return functions as Libc;
}
