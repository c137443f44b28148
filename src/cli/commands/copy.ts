/**
 * `penstock copy`: copies a tree or a single item to another place, of this machine or a paired one.
 */
import { type ByteString, fromText, toDisplay } from '../../base/bytes.ts';
import { EXIT, fromErrorRecord } from '../../base/errors.ts';
import { openSystem } from '../../host/mod.ts';
import { copy } from '../../mover/copy.ts';
import type { Invocation } from '../invocation.ts';
import { reportRefusals } from '../render-refusals.ts';
import { copySummary } from '../render-summary.ts';

export default async function run(invocation: Invocation<'copy'>): Promise<number> {
  const { options, positionals, output } = invocation;
  const startedMs = output.clockMs();
  output.progress.start('copying');
  const result = await copy({
    source: absolute(positionals.source),
    target: absolute(positionals.target),
    owners: !options.noOwner,
    dryRun: options.dryRun,
    threads: options.threads ?? openSystem().cores(),
    signal: invocation.signal,
    onProblem: (path, error) => {
      const { message, code } = fromErrorRecord(error);
      const shown = message.includes(toDisplay(path)) ? message : `${toDisplay(path)}: ${message}`;
      output.warning(shown, { code, path });
    },
    onProgress: ({ files, bytes }) =>
      output.progress.update({ bytesDone: bytes, filesDone: files }),
  });
  output.progress.finish();
  reportRefusals(output, result.refusals, 'COPY_PARTIAL', 'copy as root, or give --no-owner');
  const { problems, refusals, ...counts } = result;
  output.summary(
    ...copySummary({
      source: positionals.source,
      target: positionals.target,
      ...counts,
      failed: problems,
      isDryRun: options.dryRun,
      elapsedMs: output.clockMs() - startedMs,
    }),
  );
  return problems > 0 || Object.keys(refusals).length > 0 ? EXIT.partial : EXIT.ok;
}

function absolute(path: ByteString): ByteString {
  const whole = path.startsWith('/') ? path : `${fromText(process.cwd())}/${path}`;
  const isDirectory = /(?:^|\/)\.{0,2}$/.test(whole);
  const trimmed = whole.replace(/\/+$/, '') || '/';
  return isDirectory && trimmed !== '/' ? `${trimmed}/` : trimmed;
}
