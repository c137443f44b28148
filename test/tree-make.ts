/**
 * Makes trees of files for tests: every kind of entry, any name, any metadata.
 *
 * Contract: goes by handle, so that paths of any length work; names are bytes, one character each.
 * Metadata are set last, so times stand as given. Content is deterministic by its seed.
 */
import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import { type ByteString, fromText } from '../src/base/bytes.ts';
import { CWD, errnoName, type Files, KIND, openFiles } from '../src/host/mod.ts';

export interface Metadata {
  readonly mode?: number;
  readonly owner?: readonly [uid: number, gid: number];
  /** Seconds since 1970, and nanoseconds. */
  readonly mtime?: readonly [seconds: number, nanoseconds: number];
  readonly attributes?: Readonly<Record<string, string | Buffer>>;
}

/** Where bytes stand in a file; what no piece covers is a hole. */
export interface Piece {
  readonly at: number;
  readonly bytes: Buffer;
}

/** A directory being filled. Children get their metadata as they are made, `done` gives its own. */
export class TreeMaker {
  readonly files: Files = openFiles();
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Opens, or makes, a directory by its path. */
  static open(path: string): TreeMaker {
    const files = openFiles();
    files.makeDirectory(CWD, fromText(path), 0o755);
    return new TreeMaker(ok(files.openDirectory(CWD, fromText(path)), `open ${path}`));
  }

  close(): void {
    this.files.close(this.fd);
  }

  file(
    name: ByteString,
    content: string | Buffer | readonly Piece[] = '',
    metadata: Metadata = {},
  ): void {
    const fd = ok(this.files.createExclusive(this.fd, name, 0o644), `create ${name}`);
    const pieces = Array.isArray(content)
      ? (content as readonly Piece[])
      : [{ at: 0, bytes: bytesOf(content as string | Buffer) }];
    for (const { at, bytes } of pieces)
      ok(this.files.write(fd, bytes, 0, bytes.length, at), 'write');
    this.files.close(fd);
    this.set(name, metadata);
  }

  /** Makes a file as long as this, with holes where there was nothing. */
  lengthen(name: ByteString, length: number): void {
    const fd = ok(this.files.openWrite(this.fd, name), `open ${name}`);
    ok(this.files.truncate(fd, length), 'truncate');
    this.files.close(fd);
  }

  /** Makes a directory, has it filled, then sets its metadata. */
  directory(
    name: ByteString,
    fill: (inside: TreeMaker) => void = () => {},
    metadata: Metadata = {},
  ): void {
    ok(this.files.makeDirectory(this.fd, name, 0o755), `make ${name}`);
    const inside = new TreeMaker(ok(this.files.openDirectory(this.fd, name), `open ${name}`));
    fill(inside);
    inside.close();
    this.set(name, metadata);
  }

  link(name: ByteString, target: ByteString, metadata: Metadata = {}): void {
    ok(this.files.symlink(target, this.fd, name), `link ${name}`);
    this.set(name, metadata);
  }

  /** A further name, here or in another directory, of an entry of this one. */
  hardLink(name: ByteString, to: TreeMaker, further: ByteString): void {
    ok(this.files.link(this.fd, name, to.fd, further), `link ${name}`);
  }

  node(
    name: ByteString,
    kind: keyof typeof KIND,
    metadata: Metadata = {},
    major = 0,
    minor = 0,
  ): void {
    ok(
      this.files.makeNode(this.fd, name, (KIND[kind] << 12) | 0o600, major, minor),
      `make ${name}`,
    );
    this.set(name, metadata);
  }

  remove(name: ByteString): void {
    ok(this.files.remove(this.fd, name), `remove ${name}`);
  }

  set(name: ByteString, { mode, owner, mtime, attributes }: Metadata): void {
    const { files, fd } = this;
    if (owner !== undefined) ok(files.chown(fd, name, owner[0], owner[1]), `chown ${name}`);
    for (const [attribute, value] of Object.entries(attributes ?? {})) {
      ok(files.setAttribute(fd, name, attribute, bytesOf(value)), `set ${attribute} of ${name}`);
    }
    if (mode !== undefined) ok(files.chmod(fd, name, mode), `chmod ${name}`);
    if (mtime !== undefined)
      ok(files.times(fd, name, 0, 0, mtime[0], mtime[1]), `times of ${name}`);
  }
}

function bytesOf(content: string | Buffer): Buffer {
  return typeof content === 'string' ? Buffer.from(content) : content;
}

function ok(result: number, what: string): number {
  assert.ok(result >= 0, `${what}: ${errnoName(-result)}`);
  return result;
}

/** Bytes that nothing compresses, the same for the same seed. */
export function noise(length: number, seed: string): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Bytes like those of text: they compress, and no two stretches are the same. */
export function prose(length: number, seed: string): Buffer {
  const bytes = noise(length, seed);
  for (let i = 0; i < length; i++) bytes[i] = ALPHABET[(bytes[i] as number) & 31] as number;
  return bytes;
}
const ALPHABET = Buffer.from('etaoin shrdlu\ncmfwyp vbgk etaoin ');
