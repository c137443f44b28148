/**
 * `penstock volume verify`: reads a volume through. What is wrong ends with exit status 1.
 */
import { EXIT } from '../../base/errors.ts';
import { formatBytes, formatCount, formatDuration } from '../../base/units.ts';
import type { VerifyReport } from '../../media/volume-verify.ts';
import { findVolume } from '../../mover/volume-find.ts';
import { verifyVolume } from '../../mover/volume-verifying.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import type { Output } from '../output.ts';
import { plural } from '../render-summary.ts';

export default async function run(invocation: Invocation<'volume verify'>): Promise<number> {
  const { output, positionals, signal } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const found = await findVolume(repository, positionals.volume);
    const { name, volume, bytes: bytesTotal } = found.record;
    const startedMs = output.clockMs();
    output.progress.start(`verifying ${name}`, 'objects');
    output.progress.update({ bytesTotal });
    const report = await verifyVolume(repository, found, {
      signal,
      onProgress: (filesDone, bytesDone) => output.progress.update({ filesDone, bytesDone }),
    });
    output.progress.finish();
    for (const finding of report.findings) {
      const { kind, object, message } = finding;
      const where = object === undefined ? '' : `, object ${object}`;
      output.line(`volume ${name}${where}: ${message}`);
      output.entry({ ...finding, type: 'damage', what: kind, volume: name });
    }
    if (report.open !== undefined) showOpen(invocation, name, report.open);
    if (report.note !== undefined) showNote(output, report.note);
    const { objects, records, marks, sessions, bytes, findingsTotal } = report;
    const elapsedMs = output.clockMs() - startedMs;
    const damaged = findingsTotal;
    const figures = {
      objects,
      records,
      marks,
      sessions,
      bytes,
      chunks: report.chunks.size,
      damaged,
    };
    output.summary(
      { command: 'volume verify', volume, name, ...figures, elapsedSeconds: elapsedMs / 1000 },
      summaryText(name, report, elapsedMs),
    );
    return findingsTotal > 0 ? EXIT.failed : EXIT.ok;
  } finally {
    await repository.close();
  }
}

function showOpen(
  { output }: Invocation<'volume verify'>,
  name: string,
  { from, end }: { readonly from: number; readonly end: number },
): void {
  const message = `objects ${from} to ${end - 1} are of a session that was not closed; the next one takes them into its log`;
  showNote(output, `volume ${name}: ${message}`);
}

function showNote(output: Output, message: string): void {
  output.note(message);
  output.entry({ type: 'note', message });
}

function summaryText(name: string, report: VerifyReport, elapsedMs: number): string {
  const { objects, records, marks, sessions, bytes, chunks, findings, findingsTotal } = report;
  const more = findingsTotal - findings.length;
  const found =
    findingsTotal === 0
      ? `volume ${name} is whole`
      : `volume ${name}: ${plural(findingsTotal, 'finding')}${more > 0 ? `, of which ${formatCount(more)} are not shown` : ''}`;
  return [
    found,
    `  ${plural(objects, 'object')}: ${plural(records, 'record')} of ${plural(chunks.size, 'chunk')}, ${plural(marks, 'file mark')}, ${plural(sessions, 'session')}`,
    `  ${formatBytes(bytes)} read in ${formatDuration(elapsedMs)} (${formatBytes(Math.round((bytes * 1000) / Math.max(1, elapsedMs)))}/s)`,
  ].join('\n');
}
