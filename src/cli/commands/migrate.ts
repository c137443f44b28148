/**
 * `penstock migrate`: moves chunks from one pool to another.
 */
import { EXIT } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import { migrate } from '../../mover/migrate.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { driveLine, driveRecord } from '../render-media.ts';
import { plural } from '../render-summary.ts';
import { programVersion } from '../version.ts';

export default async function run(invocation: Invocation<'migrate'>): Promise<number> {
  const { output, options, positionals } = invocation;
  const repository = await openRepositoryOf(invocation, { pool: options.to });
  try {
    output.progress.start('migrating');
    const result = await migrate(repository, {
      what: positionals.what,
      writer: `penstock ${programVersion()}`,
      signal: invocation.signal,
      onProgress: ({ chunks, chunksTotal, bytes, bytesTotal }) =>
        output.progress.update({
          bytesDone: bytes,
          bytesTotal,
          filesDone: chunks,
          filesTotal: chunksTotal,
        }),
      onProblem: ({ message, code }) => output.problem(message, { code }),
      onMended: ({ message, code }) => output.warning(message, { code }),
    });
    output.progress.finish();
    const { chunks, bytes, alreadyThere, staged, problems, drive } = result;
    const moved = `moved ${plural(chunks, 'chunk')} (${formatBytes(bytes)}) to ${options.to}`;
    const there = alreadyThere > 0 ? [`  ${plural(alreadyThere, 'chunk')} already there`] : [];
    const failed =
      problems > 0 ? [`  ${plural(problems, 'chunk')} not moved: see the warnings`] : [];
    const streaming = drive?.streaming === undefined ? [] : [driveLine(drive.streaming)];
    output.summary(
      {
        command: 'migrate',
        ...{ to: options.to, chunks, bytes, alreadyThere, staged, problems },
        ...(drive === undefined ? {} : { drive: driveRecord(drive) }),
      },
      [moved, ...there, ...failed, ...streaming].join('\n'),
    );
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
