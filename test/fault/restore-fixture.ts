/**
 * For tests of restores from what is damaged: benches (../bench.ts) and places in one scratch folder.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { after } from 'node:test';
import { Bench } from '../bench.ts';
import { scratchFolder } from '../commands.ts';

export const scratch: string = scratchFolder();
const benches: Bench[] = [];
after(async () => {
  for (const bench of benches) await bench.close();
});
let count = 0;

/** A path where nothing is yet. */
export const newPath = (kind: string): string => join(scratch, `${kind}${count++}`);
export const newTarget = (): string => newPath('target');

/** It is closed when the tests of the file have ended. */
export async function newBench(): Promise<Bench> {
  return kept(await Bench.make(scratch, `repo${count++}`));
}
/** A copy of a repository as it is now. */
export async function copyOf({ path }: Bench): Promise<Bench> {
  const copy = newPath('repo');
  cpSync(path, copy, { recursive: true });
  return kept(await Bench.open(copy));
}
function kept(bench: Bench): Bench {
  benches.push(bench);
  return bench;
}
