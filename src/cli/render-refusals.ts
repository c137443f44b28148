/**
 * Says which metadata could not be set: once per kind, not per file. Without root nobody can give files
 * away.
 */
import { toDisplay } from '../base/bytes.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { MetadataRefusals } from '../modules/file-metadata.ts';
import type { Output } from './output.ts';
import { plural } from './render-summary.ts';

const REFUSED = {
  owner: 'set owner or group of',
  mode: 'set the mode of',
  attribute: 'set extended attributes of',
  time: 'set the times of',
  device: 'make the devices of',
} as const;

/** `ownerHint`: what to do where owners could not be set. */
export function reportRefusals(
  output: Output,
  refusals: MetadataRefusals,
  code: ErrorCode,
  ownerHint: string,
): void {
  for (const [kind, refusal] of Object.entries(refusals)) {
    const what = REFUSED[kind as keyof typeof REFUSED];
    output.problem(
      `could not ${what} ${plural(refusal.count, 'item')}, first ${toDisplay(refusal.path)}: ${refusal.first}`,
      { code, ...(kind === 'owner' ? { hint: ownerHint } : {}) },
    );
  }
}
