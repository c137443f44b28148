/**
 * `penstock help [COMMAND]`: shows help, or the whole manual in roff or Markdown.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { helpText } from '../../options/help.ts';
import { manualText, markdownText } from '../../options/manual.ts';
import type { Invocation } from '../invocation.ts';
import { programVersion } from '../version.ts';

export default async function run(invocation: Invocation<'help'>): Promise<number> {
  await invocation.output.writeBytes(Buffer.from(textOf(invocation)));
  return EXIT.ok;
}

function textOf({ options, output, positionals }: Invocation<'help'>): string {
  if (options.man) return manualText(programVersion());
  if (options.markdown) return markdownText();
  const topic = positionals.command.join(' ');
  const text = helpText(topic, output.resultColumns());
  if (text !== undefined) return `${text}\n`;
  throw new PenstockError('USAGE', `unknown command: ${topic}`, {
    hint: 'run `penstock help` for all commands',
  });
}
