/**
 * `penstock ls`.
 */
import { PenstockError } from '../../base/errors.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(_invocation: Invocation<'ls'>): Promise<number> {
  throw new PenstockError('NOT_SUPPORTED', 'this version cannot do that yet: ls');
}
