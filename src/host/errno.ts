/**
 * Numbers, names and texts of the system's errors.
 *
 * Contract: the calls of the ports in host/ do not throw for system errors; they return a negative
 * number, minus the errno. Here it becomes a name (`errnoName`), or an error for people
 * (`ioError`). 95 is called ENOTSUP, as in Node, never EOPNOTSUPP. Numbers are Linux's; they are
 * the same on every architecture that Penstock runs on.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';

/** Those that file systems and devices answer and that Node's own tables lack. */
const MORE: readonly (readonly [name: string, errno: number, text: string])[] = [
  ['ENOTBLK', 15, 'block device required'],
  ['ENONET', 64, 'machine is not on the network'],
  ['ECOMM', 70, 'communication error on send'],
  ['EBADMSG', 74, 'bad message'],
  ['EHOSTDOWN', 112, 'host is down'],
  ['ESTALE', 116, 'stale file handle'],
  ['EUCLEAN', 117, 'the file system is damaged'],
  ['EREMOTEIO', 121, 'remote input or output error'],
  ['EDQUOT', 122, 'disk quota exceeded'],
  ['ENOMEDIUM', 123, 'no medium found'],
  ['EMEDIUMTYPE', 124, 'wrong medium type'],
  ['ENOKEY', 126, 'required encryption key not available'],
  ['EKEYEXPIRED', 127, 'encryption key has expired'],
  ['EKEYREVOKED', 128, 'encryption key has been revoked'],
  ['ERFKILL', 132, 'operation not possible due to a radio switch'],
  ['EHWPOISON', 133, 'memory page has a hardware error'],
];

interface Tables {
  readonly names: ReadonlyMap<number, string>;
  readonly numbers: ReadonlyMap<string, number>;
  readonly texts: ReadonlyMap<number, string>;
}

let made: Tables | undefined;

/** Made when the first error is named: most threads name none. */
function tables(): Tables {
  if (made !== undefined) return made;
  const names = new Map<number, string>();
  const numbers = new Map<string, number>();
  const texts = new Map<number, string>();
  const add = (name: string, errno: number, text: string | undefined): void => {
    if (!names.has(errno)) names.set(errno, name);
    numbers.set(name, errno);
    if (text !== undefined && !texts.has(errno)) texts.set(errno, text);
  };
  for (const [name, errno, text] of MORE) add(name, errno, text);
  for (const [errno, [name, text]] of process.getBuiltinModule('node:util').getSystemErrorMap()) {
    // libuv's own codes lie beyond -3000 and are not the system's.
    if (errno > -3000) add(name, -errno, text);
  }
  const { constants } = process.getBuiltinModule('node:os');
  for (const [name, errno] of Object.entries(constants.errno)) add(name, errno, undefined);
  made = { names, numbers, texts };
  return made;
}

/** `ENOENT` for 2, or for -2; `E<number>` for one that is not in the tables. */
export function errnoName(errno: number): string {
  const number = Math.abs(errno);
  return tables().names.get(number) ?? `E${number}`;
}

/** 2 for `ENOENT`; undefined for a name that the system does not have. */
export function errnoNumber(name: string): number | undefined {
  return tables().numbers.get(name);
}

/** `no such file or directory` for 2, or for -2. */
export function errnoText(errno: number): string {
  const number = Math.abs(errno);
  return tables().texts.get(number) ?? `system error ${number}`;
}

/**
 * The error for a negative `result`: HOST_IO with `errno`, and a message such as
 * `cannot open docs/a.txt: permission denied (EACCES)`.
 *
 * @param result  what the call returned, negative
 * @param call    a verb for people: `open`, `read`, `set the times of`
 * @param subject the path as bytes; escaped for the message, kept as it is in `subject`
 */
export function ioError(result: number, call: string, subject: ByteString): PenstockError {
  const name = errnoName(result);
  const message = `cannot ${call} ${toDisplay(subject)}: ${errnoText(result)} (${name})`;
  return new PenstockError('HOST_IO', message, { errno: name, subject });
}

/** Returns `result` unless it is negative: then throws its `ioError`. Not for hot loops. */
export function checked(result: number, call: string, subject: ByteString): number {
  if (result < 0) throw ioError(result, call, subject);
  return result;
}

/** The numbers that code compares with; results are their negatives. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  ESTALE: 116,
  EDQUOT: 122,
} as const;
