/**
 * The door of host/fake/: stand-ins for the ports of host/, for tests only.
 */
export { seededRandom } from '../random.ts';
export { FakeClock } from './clock.ts';
export type { Fault, FaultMode } from './fault-script.ts';
export { addFaultRules, FaultRule, FaultScript } from './fault-script.ts';
export type { FaultCall, FaultyFiles } from './faulty-files.ts';
export { FAULT_CALLS, faultyFiles } from './faulty-files.ts';
export type { MemoryFilesOptions } from './memory-files.ts';
export { MemoryFiles } from './memory-files.ts';
export type { PowerLoss } from './memory-tree.ts';
