/**
 * Runs a command, and puts the tapes into the drive that it asks for.
 */
import { type JsonLine, type Run, start } from './commands.ts';

export interface Asked {
  readonly tapes: readonly string[];
  readonly blank: boolean;
  readonly found: string | undefined;
}

/** @param answer does what is asked for; the number counts from 1 */
export async function attended(
  args: readonly string[],
  answer: (asked: Asked, number: number) => Promise<void> | void,
): Promise<Run & { readonly asked: readonly Asked[] }> {
  const { child, ended } = start(args);
  const all: Asked[] = [];
  let answers: Promise<void> = Promise.resolve();
  const take = (asked: Asked | undefined): void => {
    if (asked === undefined) return;
    const number = all.push(asked);
    answers = answers.then(() => answer(asked, number));
  };
  child.stdout?.on('data', byLines(jsonRequest));
  // What the main thread could not tell in time.
  child.stderr?.on('data', byLines(textRequest));
  function byLines(parse: (line: string) => Asked | undefined): (text: string) => void {
    let rest = '';
    return (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(parse(line));
    };
  }
  const run = await ended;
  await answers;
  return { ...run, asked: all };
}

function jsonRequest(line: string): Asked | undefined {
  const record = JSON.parse(line) as JsonLine & Asked;
  if (record.type !== 'mount') return undefined;
  return { tapes: record.tapes, blank: record.blank, found: record.found };
}

function textRequest(line: string): Asked | undefined {
  const form = /^put (.*) into the (?:drive|library) \S+?(?:; there is (.*?))?(?: \(waiting .*)?$/;
  const [, wanted = '', found] = form.exec(line) ?? [];
  if (wanted === '') return undefined;
  const words = wanted.split(/, or | or |, /);
  const blank = words[0] === 'a blank tape';
  return { tapes: blank ? words.slice(1) : words, blank, found };
}
