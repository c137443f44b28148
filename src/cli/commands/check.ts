/**
 * `penstock check`: says what is damaged, and which archives and paths it concerns. Damage ends with
 * exit status 1; what is only worth knowing does not.
 */
import type { ByteString } from '../../base/bytes.ts';
import { EXIT, PenstockError } from '../../base/errors.ts';
import { openSystem } from '../../host/mod.ts';
import { openDirectoryStore } from '../../media/directory-store.ts';
import { type CheckResult, check } from '../../mover/check.ts';
import type { Repository } from '../../mover/repository.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import type { Output } from '../output.ts';
import { checkSummary, type DamageFacts, damageLines, damageRecord } from '../render-summary.ts';

export default async function run(invocation: Invocation<'check'>): Promise<number> {
  const { options, output, signal } = invocation;
  const startedMs = output.clockMs();
  const repository = await openOrReport(invocation);
  if (repository === undefined) return EXIT.failed;
  try {
    output.progress.start('checking');
    const result = await check(repository, {
      readData: options.readData,
      threads: options.threads ?? openSystem().cores(),
      memoryBytes: options.memoryBytes,
      signal,
      onProgress: ({ phase, chunks, chunksTotal, bytesRead, bytesTotal }) =>
        output.progress.update({
          bytesDone: bytesRead,
          bytesTotal: phase === 'data' ? bytesTotal : undefined,
          filesDone: chunks,
          filesTotal: chunksTotal,
        }),
    });
    output.progress.finish();
    for (const damage of result.damages) show(output, damage);
    for (const note of result.notes) showNote(output, note);
    for (const chunk of result.orphans) output.detail(`chunk ${chunk} is needed by no archive`);
    summarise(output, result, options.readData, startedMs);
    return result.damages.length > 0 ? EXIT.failed : EXIT.ok;
  } finally {
    await repository.close();
  }
}

function show(output: Output, damage: DamageFacts): void {
  const { what, id, message, archives, paths, pathsTotal } = damage;
  const facts = { what, id, message, archives, paths, pathsTotal };
  output.line(damageLines(facts).join('\n'));
  output.entry(damageRecord(facts));
}

function showNote(output: Output, message: string): void {
  output.note(message);
  output.entry({ type: 'note', message });
}

function summarise(
  output: Output,
  result: CheckResult,
  isDataRead: boolean,
  startedMs: number,
): void {
  output.summary(
    ...checkSummary({
      archives: result.archives,
      chunks: result.chunks,
      indexSegments: result.indexSegments,
      blobs: result.blobs,
      bytesRead: result.bytesRead,
      isDataRead,
      damaged: result.damages.length,
      orphanChunks: result.orphans.length,
      elapsedMs: output.clockMs() - startedMs,
    }),
  );
}

/** A repository that cannot be opened because of damage: a finding like others, only the last one. */
async function openOrReport(invocation: Invocation<'check'>): Promise<Repository | undefined> {
  const { output } = invocation;
  const startedMs = output.clockMs();
  try {
    return await openRepositoryOf(invocation);
  } catch (error) {
    const finding = error instanceof PenstockError ? await findingOf(error, invocation) : undefined;
    if (finding === undefined) throw error;
    show(output, { ...finding, archives: [], paths: [], pathsTotal: 0 });
    const nothing = {
      archives: 0,
      chunks: 0,
      indexSegments: 0,
      blobs: 0,
      bytesRead: 0,
      orphanChunks: 0,
    };
    output.summary(
      ...checkSummary({
        ...nothing,
        isDataRead: false,
        damaged: 1,
        elapsedMs: output.clockMs() - startedMs,
      }),
    );
    return undefined;
  }
}

async function findingOf(
  error: PenstockError,
  { repoUrl }: Invocation<'check'>,
): Promise<Pick<DamageFacts, 'what' | 'id' | 'message'> | undefined> {
  const message = `${error.message}; nothing else can be checked`;
  const key = /^(?:keys\/)?([0-9a-f]{16}(?:\.[0-9]+)?)$/.exec(error.subject ?? '')?.[1];
  if (error.code === 'DAMAGED')
    return key === undefined
      ? { what: 'repository record', id: 'repository', message }
      : { what: 'key', id: key, message };
  if (error.code === 'OBJECT_MISSING') return { what: 'key', id: 'all', message };
  if (error.code !== 'REPO_MISSING' || !(await holdsObjects(repoUrl))) return undefined;
  return {
    what: 'repository record',
    id: 'repository',
    message: 'it is missing, and there are objects of a repository; nothing else can be checked',
  };
}

/** Whether there are objects of a repository that has lost its record. */
async function holdsObjects(repoUrl: ByteString): Promise<boolean> {
  try {
    const store = openDirectoryStore(repoUrl, false);
    try {
      for (const kind of ['keys', 'archives', 'chunks'] as const) {
        const listed = await store.list(kind).catch(() => []);
        if (listed.length > 0) return true;
      }
      return false;
    } finally {
      await store.close();
    }
  } catch (error) {
    if (error instanceof PenstockError) return false;
    throw error;
  }
}
