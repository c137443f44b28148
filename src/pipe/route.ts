/**
 * Where the buffers that a stage sends go: the queue of each target, with the sequencer in front of it,
 * the window of the section that begins there, and the resequencer of the one that ends there.
 *
 * Contract: resolved once per instance, so that sending looks nothing up.
 */
import { queueSemaphoreAt, stageAt, windowSemaphoreAt } from './layout.ts';
import type { Ring } from './queue.ts';
import type { Segment } from './segment.ts';
import { Semaphore } from './semaphore.ts';
import { Resequencer, Sequencer } from './sequencer.ts';

export interface Route {
  readonly stage: number;
  readonly name: string;
  readonly stageWord: number;
  readonly queue: Ring;
  readonly ready: Semaphore;
  /** Instances that are started on demand; 0: all are started at once. */
  readonly lazyInstances: number;
  /** Stamps what is sent there, or null. */
  readonly sequencer: Sequencer | null;
  /** Permits of the section that begins there, or null. */
  readonly window: Semaphore | null;
  /** Order of the section that ends there, or null. */
  readonly resequencer: Resequencer | null;
}

/** Routes of a stage, in the order of its targets. */
export function routesOf(segment: Segment, stage: number): Route[] {
  const targets = segment.config.stages[stage]?.targets ?? [];
  return targets.map((target) => routeTo(segment, stage, target));
}

/** The end of the section whose numbered buffers a stage receives, and its numbers; or null. */
export function sectionRoute(segment: Segment, stage: number): Route | null {
  const { topology, layout, words } = segment;
  const index = topology.sectionOf[stage] ?? -1;
  const section = topology.sections[index];
  if (section === undefined) return null;
  return {
    ...routeTo(segment, section.stages.at(-1) ?? stage, section.last),
    sequencer: new Sequencer(words, stageAt(layout, section.first)),
    window: new Semaphore(words, windowSemaphoreAt(layout, index)),
  };
}

function routeTo(segment: Segment, from: number, target: number): Route {
  const { layout, words, config, topology } = segment;
  const stage = config.stages[target];
  const starts = topology.sections.findIndex((section) => section.first === target);
  const ends = topology.sections.findIndex((section) => section.last === target);
  const section = topology.sections[ends];
  const queue = segment.ring(target);
  const ready = new Semaphore(words, queueSemaphoreAt(layout, target));
  // Within a section numbers are kept: only what comes from outside is stamped.
  const stamps = starts >= 0 || (stage?.numbered === true && topology.sectionOf[from] === -1);
  return {
    stage: target,
    name: stage?.name ?? '',
    stageWord: stageAt(layout, target),
    queue,
    ready,
    lazyInstances: stage?.lazy === true ? stage.instances : 0,
    sequencer: stamps ? new Sequencer(words, stageAt(layout, target)) : null,
    window: starts >= 0 ? new Semaphore(words, windowSemaphoreAt(layout, starts)) : null,
    resequencer:
      section === undefined
        ? null
        : new Resequencer(
            words,
            layout.resequencers[ends] as number,
            section,
            queue,
            ready,
            new Semaphore(words, windowSemaphoreAt(layout, ends)),
          ),
  };
}
