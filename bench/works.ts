/**
 * The works, and how they are measured: rounds in which every program has its turn, so that a slow
 * minute of the machine meets all of them.
 *
 * Contract: what was restored in the first round is compared with the source; a program that does
 * not give back what it was given is an error, not a figure.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, type Run, runCommand } from './commands.ts';
import { childrenCpuSeconds } from './cost.ts';
import type { Figures } from './figures.ts';
import type { Place, Program } from './peers.ts';
import { renewFolder, sizeOfTree, touchMemory } from './places.ts';

/** One source, measured with every program. */
export interface Course {
  /** Begins the names of its works, such as `disk: `. */
  readonly title: string;
  readonly source: string;
  /** Repository and target are made below it. */
  readonly folder: string;
  readonly programs: readonly Program[];
  readonly rounds: number;
  /** Whether a second backup is measured too. */
  readonly second: boolean;
  /** Writes dirty pages out before each work, where there is a disk; where not, memory is touched. */
  readonly onDisk: boolean;
  say(what: string): void;
}

export async function runCourse(course: Course, figures: Figures): Promise<void> {
  for (let round = 0; round < course.rounds; round++) {
    for (let turn = 0; turn < course.programs.length; turn++) {
      // Each round begins with another program.
      const program = course.programs[(turn + round) % course.programs.length];
      if (program !== undefined) await runProgram(course, program, round === 0, figures);
    }
  }
}

async function runProgram(
  course: Course,
  program: Program,
  checked: boolean,
  figures: Figures,
): Promise<void> {
  const place = renewPlace(course);
  const sourceBytes = sizeOfTree(course.source).storedBytes;
  const measure = async (work: string, command: Command): Promise<void> => {
    course.say(`${course.title}${work}: ${program.name}`);
    if (course.onDisk) await runCommand({ program: 'sync', args: ['-f', course.folder] });
    else touchMemory(course.folder, sourceBytes);
    const cpuBefore = childrenCpuSeconds();
    const { elapsedMs, peakBytes }: Run = await runCommand(command);
    const cpuSeconds = childrenCpuSeconds() - cpuBefore;
    figures.add(`${course.title}${work}`, program.name, 'cpu seconds', cpuSeconds);
    figures.add(`${course.title}${work}`, program.name, 'ms', elapsedMs);
    figures.add(`${course.title}${work}`, program.name, 'peak bytes', peakBytes);
  };
  const prepare = program.prepare(place);
  if (prepare !== undefined) await runCommand(prepare);
  await measure('first backup', program.backup(place, 1));
  const stored = sizeOfTree(place.repository).bytes;
  figures.add(`${course.title}stored size`, program.name, 'bytes', stored);
  if (course.second && program.incremental) {
    await measure('second backup', program.backup(place, 2));
  }
  await measure('restore', program.restore(place));
  if (checked) await compare(course.source, program.restored(place));
  renewPlace(course);
}

/** Empty folders; a repository is made by the program itself. */
function renewPlace({ folder, source }: Course): Place {
  const work = renewFolder(join(folder, 'work'));
  const place = {
    source,
    repository: join(work, 'repository'),
    target: join(work, 'target'),
    state: join(work, 'state'),
  };
  mkdirSync(place.target);
  mkdirSync(place.state);
  return place;
}

async function compare(source: string, restored: string): Promise<void> {
  const args = ['-r', '-q', '--no-dereference', source, restored];
  await runCommand({ program: 'diff', args });
}
