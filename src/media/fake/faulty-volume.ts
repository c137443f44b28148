/**
 * A volume that fails when a script says so (host/fake/fault-script.ts), in front of any other.
 *
 * Contract: a call that no rule acts on is passed on unchanged. The rule's `error` says what is
 * thrown: ENOSPC VOLUME_FULL, EBADMSG VOLUME_DAMAGED, EROFS VOLUME_PROTECTED, ESTALE VOLUME_CHANGED
 * (the drive is reset, where it can be), ENOMEDIUM VOLUME_NOT_READY, all others VOLUME_IO.
 * `torn`: half of the record is left behind. `late`: the call is carried out, and then fails. `lost`:
 * it is not carried out, and says that it was.
 */
import { type FaultRule, FaultScript } from '../../host/fake/mod.ts';
import { errnoName } from '../../host/mod.ts';
import { type Volume, type VolumeErrorCode, volumeError } from '../volume.ts';

const CHANGES: ReadonlySet<string> = new Set(['append', 'writeMarks', 'synchronise', 'erase']);
const CALLS = [
  ...['append', 'writeMarks', 'synchronise', 'erase', 'read', 'tell', 'rewind', 'locate'],
  ...['spaceRecords', 'spaceMarks', 'spaceEnd', 'status', 'load', 'unload'],
] as const;
export type VolumeCall = keyof Volume | 'any' | 'change';

const CODES: Readonly<Record<string, VolumeErrorCode>> = {
  ENOSPC: 'VOLUME_FULL',
  EBADMSG: 'VOLUME_DAMAGED',
  EROFS: 'VOLUME_PROTECTED',
  ESTALE: 'VOLUME_CHANGED',
  ENOMEDIUM: 'VOLUME_NOT_READY',
};

/** What happens to the medium when a rule acts. */
export interface FaultEffects {
  /** Half of a record is left behind. */
  tear?(record: Uint8Array): void;
  /** The drive is reset. */
  reset?(): void;
}

export interface FaultyVolume extends Volume {
  readonly script: FaultScript;
  /** Begins a rule: `fault('append').after(3).error('ENOSPC').repeat(2)`. */
  fault(call: VolumeCall): FaultRule;
}

type Call = (...parameters: unknown[]) => Promise<unknown>;

/** Puts a script in front of `inner`. */
export function faultyVolume(
  inner: Volume,
  effects: FaultEffects = {},
  script: FaultScript = new FaultScript(),
): FaultyVolume {
  const faulty: Record<string, unknown> = {
    name: inner.name,
    limits: inner.limits,
    script,
    fault: (call: VolumeCall) => script.fault(call),
    close: () => inner.close(),
  };
  for (const name of CALLS) {
    const call = (inner[name] as Call).bind(inner);
    faulty[name] = async (...parameters: unknown[]) => {
      const fault = script.next(name, CHANGES.has(name), []);
      if (fault === undefined) return await call(...parameters);
      if (fault.mode === 'lost') return CHANGES.has(name) ? false : await call(...parameters);
      if (fault.mode === 'late') await call(...parameters);
      const errno = errnoName(fault.errno);
      const code = CODES[errno] ?? 'VOLUME_IO';
      if (fault.mode === 'torn' && name === 'append') effects.tear?.(parameters[0] as Uint8Array);
      // The reset itself is what the drive tells of; it is not told a second time.
      if (code === 'VOLUME_CHANGED' && effects.reset !== undefined) {
        effects.reset();
        return await call(...parameters);
      }
      throw volumeError(code, inner.name, undefined, `${name} fails (${errno})`, { errno });
    };
  }
  return faulty as unknown as FaultyVolume;
}
