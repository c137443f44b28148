/**
 * The command line's entry: bin/penstock.js imports it.
 *
 * Contract: the key comes first; everything else is loaded while another thread derives it.
 */
import { deriveAhead } from './key-ahead.ts';

const launched = process.env.PENSTOCK_LAUNCHER === '1';
// Not for programs that are started from here: they are not the launcher's children.
delete process.env.PENSTOCK_LAUNCHER;
deriveAhead(process.argv.slice(2), process.env);
const { start } = await import('./start.ts');
await start(launched);
