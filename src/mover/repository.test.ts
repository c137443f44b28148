/**
 * Goal: the feature words of the repository are obeyed before anything else (issue of versions): an
 * incompatible feature refuses all use, one that is compatible for reading refuses only writing.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromText } from '../base/bytes.ts';
import type { PenstockError } from '../base/errors.ts';
import { finishRecord } from '../format/record.ts';
import { openClock, openCodec, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { listArchives } from './archives.ts';
import { openArchiveReader } from './reader.ts';
import { createRepository, openRepository, type Repository } from './repository.ts';
import { openSession } from './session.ts';

const around = { clock: openClock(), random: openRandom() };
const pass = (): Promise<Buffer> => Promise.resolve(Buffer.from('secret'));

/** A repository without encryption whose record has a bit of a feature word set. */
async function withFeature(
  at: number,
  work: (open: () => Promise<Repository>) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock features '));
  try {
    const made = await createRepository(
      openDirectoryStore(fromText(folder), true),
      undefined,
      around,
    );
    await made.close();
    const file = join(folder, 'repository');
    const bytes = readFileSync(file);
    bytes.writeUInt32LE(0x8000_0000, at);
    const codec = openCodec(Buffer.alloc(32));
    finishRecord(bytes, (v, o, l, s) => codec.crc32c(v, o, l, s));
    writeFileSync(file, bytes);
    await work(() => openRepository(openDirectoryStore(fromText(folder), false), pass, around));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const isFeature = (error: unknown): boolean => (error as PenstockError).code === 'REPO_FEATURE';

test('an unknown incompatible feature refuses all use', () =>
  withFeature(20, async (open) => {
    await assert.rejects(open(), isFeature);
  }));

test('an unknown feature that is compatible for reading refuses every writer, and no reader', () =>
  withFeature(16, async (open) => {
    const repository = await open();
    assert.deepEqual((await listArchives(repository)).archives, []);
    await (await openArchiveReader(repository)).close();
    await assert.rejects(openSession(repository, 'backup'), isFeature);
    await assert.rejects(repository.store.put('archives', 'a', Buffer.alloc(1)), isFeature);
    await repository.close();
  }));

test('an unknown compatible feature refuses nothing', () =>
  withFeature(12, async (open) => {
    const repository = await open();
    await (await openSession(repository, 'backup')).end();
    await repository.close();
  }));
