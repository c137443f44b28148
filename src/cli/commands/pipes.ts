/**
 * `penstock pipes`: shows the pipes of this machine's monitor.
 */
import { EXIT } from '../../base/errors.ts';
import { askPipes } from '../../monitor/local-requests.ts';
import type { PipeView, StageView } from '../../monitor/pipe-view.ts';
import type { Invocation } from '../invocation.ts';
import { textTable } from '../text-table.ts';

export default async function run(invocation: Invocation<'pipes'>): Promise<number> {
  const { output, stateDirectory } = invocation;
  const pipes = await askPipes(stateDirectory);
  for (const pipe of pipes) {
    output.entry({ type: 'pipe', ...pipe });
    if (!output.json) for (const line of pipeLines(pipe)) output.line(line);
  }
  if (pipes.length === 0) output.note('no pipe runs');
  output.summary({ command: 'pipes', pipes: pipes.length }, '');
  return EXIT.ok;
}

function pipeLines(pipe: PipeView): string[] {
  const { name, program, machine, flow, upMs, buffers, stages, stopping, device } = pipe;
  const seconds = Math.round(upMs / 1000);
  const words = [
    `${program} on ${machine}`,
    flow,
    ...(device === undefined ? [] : [`device ${device}`]),
    `${seconds} s`,
    ...(pipe.state === 'queued' ? [`queued at place ${pipe.place ?? '?'}`] : []),
    ...(pipe.state === 'starting' ? ['starting'] : []),
    ...(stopping ? ['stopping'] : []),
  ];
  const head = `${name}: ${words.join(', ')}`;
  if (stages.length === 0) return [head];
  const columns = [
    { title: 'stage' },
    { title: 'instances', right: true },
    { title: 'waiting', right: true },
    { title: 'per second', right: true },
    { title: 'state' },
  ];
  const rows = stages.map((stage) => [
    stage.name,
    String(stage.instances.length),
    String(stage.queued),
    String(stage.buffersPerSecond),
    stateText(stage),
  ]);
  const table = textTable(columns, rows).map((line) => `  ${line}`);
  return [head, `  ${buffers.free} of ${buffers.total} buffers free`, ...table];
}

/** What its instances do, and whom those wait for that wait. */
function stateText({ instances, programs }: StageView): string {
  const attached = programs === undefined ? '' : `, ${programsText(programs)}`;
  const states = [...new Set(instances.map(({ state }) => state))].join(', ');
  const awaited = [...new Set(instances.flatMap(({ waitsFor }) => waitsFor))];
  return `${states}${awaited.length === 0 ? '' : ` (for ${awaited.join(', ')})`}${attached}`;
}

function programsText(programs: readonly number[]): string {
  return programs.length === 0 ? 'no program attached' : `program ${programs.join(', ')}`;
}
