/**
 * How test results are shown: by Node's `spec` on a terminal and its `tap` elsewhere, unchanged but
 * for one thing: the skipped tests are told again, with their reasons, before the closing lines.
 */
import { relative } from 'node:path';
import { Readable } from 'node:stream';
import { spec, type TestEvent, tap } from 'node:test/reporters';

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<unknown> {
  const told = tellSkippedAgain(events);
  if (process.stdout.isTTY) yield* Readable.from(told).compose(new spec());
  else yield* tap(told);
}

async function* tellSkippedAgain(events: AsyncIterable<TestEvent>): AsyncGenerator<TestEvent> {
  const skipped: string[] = [];
  for await (const event of events) {
    if (event.type === 'test:pass' && event.data.skip) {
      const { skip, name, file = '' } = event.data;
      const reason = typeof skip === 'string' ? skip : 'no reason given';
      skipped.push(`skipped: ${relative(process.cwd(), file)}: ${name}: ${reason}`);
    }
    if (event.type === 'test:diagnostic' && isFirstClosingLine(event)) {
      for (const message of skipped) yield { ...event, data: { ...event.data, message } };
    }
    yield event;
  }
}

function isFirstClosingLine(event: Extract<TestEvent, { type: 'test:diagnostic' }>): boolean {
  return event.data.nesting === 0 && /^tests \d+$/.test(event.data.message);
}
