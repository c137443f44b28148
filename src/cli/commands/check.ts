/**
 * `penstock check`: says what is damaged, and which archives and paths it concerns. Damage ends with
 * exit status 1; what is only worth knowing does not.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { openSystem } from '../../host/mod.ts';
import { check, type CheckResult } from '../../mover/check.ts';
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

function summarise(output: Output, result: CheckResult, isDataRead: boolean, startedMs: number): void {
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

/** A repository that cannot be opened because of damage is a finding like others, only the last. */
async function openOrReport(invocation: Invocation<'check'>): ReturnType<typeof tryOpen> {
  const { output } = invocation;
  const startedMs = output.clockMs();
  try {
    return await tryOpen(invocation);
  } catch (error) {
    if (!(error instanceof PenstockError) || !['DAMAGED', 'OBJECT_MISSING'].includes(error.code)) throw error;
    const isKey = error.message.includes('key');
    show(output, {
      what: isKey ? 'key' : 'repository record',
      id: error.subject?.replace(/^keys\//, '') ?? 'repository',
      message: `${error.message}; nothing else can be checked`,
      archives: [],
      paths: [],
      pathsTotal: 0,
    });
    const nothing = { archives: 0, chunks: 0, indexSegments: 0, blobs: 0, bytesRead: 0, orphanChunks: 0 };
    output.summary(...checkSummary({ ...nothing, isDataRead: false, damaged: 1, elapsedMs: output.clockMs() - startedMs }));
    return undefined;
  }
}

function tryOpen(invocation: Invocation<'check'>): Promise<Awaited<ReturnType<typeof openRepositoryOf>> | undefined> {
  return openRepositoryOf(invocation);
}
