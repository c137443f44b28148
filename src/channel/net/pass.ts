/**
 * A stage that changes nothing: of one instance, it is where order is restored between agents of a machine that
 * a pipe only goes through.
 */
import type { PipeModule } from '../../pipe/mod.ts';

export default function pass(): PipeModule {
  return { process: () => undefined };
}
