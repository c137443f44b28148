/**
 * Extended attributes on Linux.
 *
 * Contract: most files have none, and then reading costs one system call and no memory. An
 * attribute that vanishes between listing and reading is left out. By name, links are not followed:
 * the path goes through /proc/self/fd, because the calls that take a directory handle are too new; where
 * the system has the one that lists names, it is asked first, at half the cost.
 */
import type { ByteString } from '../../base/bytes.ts';
import { ERRNO } from '../errno.ts';
import { type Attribute, CWD, NO_ATTRIBUTES } from '../files.ts';
import type { Libc } from './libc.ts';
import { NameScratch } from './scratch.ts';

/**
 * Room for a list of names and for a value; grows when one needs more. The kernel takes as much memory for
 * itself at each call: 64 KiB, its greatest list, make a call three times as dear.
 */
const BYTES_AT_FIRST = 1024;
const EMPTY: Uint8Array = new Uint8Array(0);
const AT_SYMLINK_NOFOLLOW = 0x100;

export class LinuxAttributes {
  readonly #c: Libc;
  readonly #path = new NameScratch();
  readonly #attribute = new NameScratch();
  #list: Buffer | undefined;
  #value: Buffer | undefined;
  /** Whether the system has `listxattrat`, as far as is known. */
  #listsByHandle = true;

  constructor(libc: Libc) {
    this.#c = libc;
  }

  ofHandle(fd: number): readonly Attribute[] | number {
    return this.#read(fd, null);
  }

  ofName(parent: number, name: ByteString): readonly Attribute[] | number {
    if (this.#hasNone(parent, name)) return NO_ATTRIBUTES;
    return this.#read(-1, this.#path.put(pathOf(parent, name)));
  }

  setOfHandle(fd: number, attribute: ByteString, value: Uint8Array): number {
    const name = this.#attribute.put(attribute);
    return this.#c.fsetxattr(fd, name, value, value.length, 0);
  }

  setOfName(parent: number, name: ByteString, attribute: ByteString, value: Uint8Array): number {
    const path = this.#path.put(pathOf(parent, name));
    const attributeName = this.#attribute.put(attribute);
    return this.#c.lsetxattr(path, attributeName, value, value.length, 0);
  }

  removeOfHandle(fd: number, attribute: ByteString): number {
    return this.#c.fremovexattr(fd, this.#attribute.put(attribute));
  }

  removeOfName(parent: number, name: ByteString, attribute: ByteString): number {
    const path = this.#path.put(pathOf(parent, name));
    return this.#c.lremovexattr(path, this.#attribute.put(attribute));
  }

  /** Whether it is certain at little cost that there are none. */
  #hasNone(parent: number, name: ByteString): boolean {
    if (!this.#listsByHandle) return false;
    this.#list ??= Buffer.allocUnsafeSlow(BYTES_AT_FIRST);
    const { length } = this.#list;
    const path = this.#path.put(name);
    const listed = this.#c.listxattrat(parent, path, AT_SYMLINK_NOFOLLOW, this.#list, length);
    // Kernels before 6.13 do not know it; sandboxes may forbid what they do not know.
    if (listed === -ERRNO.ENOSYS || listed === -ERRNO.EPERM) this.#listsByHandle = false;
    return listed === 0;
  }

  /** Of a handle, if there is no path. */
  #read(fd: number, path: Buffer | null): readonly Attribute[] | number {
    const length = this.#readList(fd, path);
    if (length === 0 || length === -ERRNO.EOPNOTSUPP) return NO_ATTRIBUTES;
    if (length < 0) return length;
    const list = this.#list as Buffer;
    const attributes: Attribute[] = [];
    let start = 0;
    while (start < length) {
      const end = list.indexOf(0, start);
      const name = list.toString('latin1', start, end);
      start = end + 1;
      const valueLength = this.#readValue(fd, path, name);
      if (valueLength === -ERRNO.ENODATA) continue;
      if (valueLength < 0) return valueLength;
      const value =
        valueLength === 0 ? EMPTY : Uint8Array.prototype.slice.call(this.#value, 0, valueLength);
      attributes.push({ name, value });
    }
    return attributes;
  }

  #readList(fd: number, path: Buffer | null): number {
    this.#list ??= Buffer.allocUnsafeSlow(BYTES_AT_FIRST);
    for (;;) {
      const list: Buffer = this.#list;
      const length =
        path === null
          ? this.#c.flistxattr(fd, list, list.length)
          : this.#c.llistxattr(path, list, list.length);
      if (length !== -ERRNO.ERANGE) return length;
      this.#list = Buffer.allocUnsafeSlow(list.length * 2);
    }
  }

  #readValue(fd: number, path: Buffer | null, name: ByteString): number {
    const attribute = this.#attribute.put(name);
    this.#value ??= Buffer.allocUnsafeSlow(BYTES_AT_FIRST);
    for (;;) {
      const value: Buffer = this.#value;
      const length =
        path === null
          ? this.#c.fgetxattr(fd, attribute, value, value.length)
          : this.#c.lgetxattr(path, attribute, value, value.length);
      if (length !== -ERRNO.ERANGE) return length;
      this.#value = Buffer.allocUnsafeSlow(value.length * 2);
    }
  }
}

function pathOf(parent: number, name: ByteString): ByteString {
  return parent === CWD || name.startsWith('/') ? name : `/proc/self/fd/${parent}/${name}`;
}
