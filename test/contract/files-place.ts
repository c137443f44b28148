/**
 * Places for tests of the port `Files`, and what the tests of its contract have in common.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import {
  type Attribute,
  DirectoryListing,
  errnoName,
  FileStatus,
  type Files,
} from '../../src/host/mod.ts';

/** An empty place to work in. */
export interface FilesPlace {
  readonly files: Files;
  /** Of the empty directory. */
  readonly root: number;
  /** The same directory as a path from CWD. */
  readonly rootPath: ByteString;
  remove(): void;
}

export interface FilesSubject {
  readonly name: string;
  open(): FilesPlace;
}

export type PlaceBody = (place: FilesPlace, context: TestContext) => void;

/** Declares a test with a place that is removed after it. */
export function placeTest(subject: FilesSubject, title: string, body: PlaceBody): void {
  test(title, (context) => {
    const place = subject.open();
    try {
      body(place, context);
    } finally {
      place.remove();
    }
  });
}

/** Asserts that a call succeeded; returns its result. */
export function good<T extends number | ByteString | readonly Attribute[]>(result: T): T {
  if (typeof result === 'number') assert(result >= 0, `a result, not ${errnoName(result)}`);
  return result;
}

/** Asserts that a call failed with one of these errors. */
export function bad(result: unknown, ...names: string[]): void {
  assert.equal(typeof result, 'number');
  assert((result as number) < 0, `an error, not ${String(result)}`);
  const name = errnoName(result as number);
  assert(names.includes(name), `${names.join(' or ')}, not ${name}`);
}

export function makeFile(
  place: FilesPlace,
  name: ByteString,
  content: string | Uint8Array = '',
): void {
  const { files, root } = place;
  const fd = good(files.createExclusive(root, name, 0o644));
  const bytes = Buffer.from(content as string);
  assert.equal(files.write(fd, bytes, 0, bytes.length, 0), bytes.length);
  good(files.close(fd));
}

export function contentOf(place: FilesPlace, name: ByteString): string {
  const { files, root } = place;
  const fd = good(files.openRead(root, name));
  const status = new FileStatus();
  good(files.statusOf(fd, status));
  const bytes = Buffer.alloc(status.size + 1);
  assert.equal(files.read(fd, bytes, 0, bytes.length, 0), status.size);
  good(files.close(fd));
  return bytes.toString('latin1', 0, status.size);
}

export function namesOf(place: FilesPlace): ByteString[] {
  const listing = new DirectoryListing();
  good(place.files.list(place.root, listing));
  return [...listing.names].sort();
}
