/**
 * `penstock key rotate`.
 */
import { PenstockError } from '../../base/errors.ts';
import type { Invocation } from '../invocation.ts';

export default async function run(_invocation: Invocation<'key rotate'>): Promise<number> {
  throw new PenstockError('NOT_SUPPORTED', 'this version cannot do that yet: key rotate');
}
