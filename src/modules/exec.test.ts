/**
 * Goal: an external command takes part in a pipe with all its bytes and no others, as head, in the middle
 * and as tail; however it or the pipe ends, nothing of it is left. Method: real commands, small pipes.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { type ModuleSpec, type Pipe, startPipe } from '../pipe/mod.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-exec-'));
after(() => rmSync(folder, { recursive: true }));
const EXEC = new URL('./exec.ts', import.meta.url);

const command = (name: string, ...args: string[]): ModuleSpec => ({
  module: EXEC,
  options: { command: name, args },
});
const shell = (script: string): ModuleSpec => command('sh', '-c', script);

/** A pipe of commands, one stage each. */
function pipeOf(modules: readonly ModuleSpec[]): Promise<Pipe> {
  return startPipe({
    maxBuffers: 4 * modules.length,
    payloadBytes: 64 * 1024,
    stages: modules.map((module, i) => ({
      name: `stage${i}`,
      modules: [module],
      allocates: i + 1 < modules.length,
    })),
  });
}
let files = 0;
const newFile = (): string => join(folder, `${files++}`);
const into = (path: string): ModuleSpec => shell(`cat > '${path}'`);

test('bytes pass commands as they are, whatever their number', async () => {
  for (const bytes of [0, 1, 65_535, 65_536, 65_537, 9_000_001]) {
    const source = newFile();
    const target = newFile();
    const content = randomBytes(bytes);
    writeFileSync(source, content);
    const pipe = await pipeOf([command('cat', source), command('cat'), into(target)]);
    await pipe.done;
    assert(readFileSync(target).equals(content), `${bytes} bytes`);
  }
});

test('a command in the middle may make more or less of what it gets', async () => {
  const target = newFile();
  const pipe = await pipeOf([command('seq', '1', '300000'), command('gzip', '-c'), into(target)]);
  await pipe.done;
  const expected = Array.from({ length: 300_000 }, (_, i) => `${i + 1}\n`).join('');
  assert.equal(gunzipSync(readFileSync(target)).toString(), expected);
});

test('a command that reads no further but ends well leaves the rest unread', async () => {
  const target = newFile();
  const pipe = await pipeOf([
    command('seq', '1', '900000'),
    command('head', '-c', '10'),
    into(target),
  ]);
  await pipe.done;
  assert.equal(readFileSync(target, 'utf8'), '1\n2\n3\n4\n5\n');
});

test('a command that fails, is killed or cannot be started fails the pipe by name', async () => {
  const cases: [ModuleSpec, RegExp][] = [
    [shell('cat > /dev/null; echo the reason >&2; exit 3'), /sh ended with status 3: the reason/],
    [shell('kill -9 $$'), /sh ended with SIGKILL/],
    [command('/nowhere/none'), /cannot start \/nowhere\/none: .*ENOENT/],
  ];
  for (const [module, message] of cases) {
    for (const place of [0, 1, 2]) {
      const modules = [command('seq', '1', '200000'), command('cat'), shell('cat > /dev/null')];
      modules[place] = module;
      const pipe = await pipeOf(modules);
      await assert.rejects(pipe.done, { code: 'COMMAND_FAILED', message });
    }
  }
});

test('when the pipe stops, a command is ended with all that it has started', async () => {
  const marks = [newFile(), newFile()];
  const script = `echo $$ > ${marks[0]}; sh -c 'echo $$ > ${marks[1]}; sleep 1000' & wait`;
  const pipe = await pipeOf([command('cat', '/dev/zero'), shell(script)]);
  for (const mark of marks)
    while (!existsSync(mark) || readFileSync(mark).length === 0) await sleep(2);
  await pipe.stop('enough');
  await assert.rejects(pipe.done, { code: 'PIPE_STOPPED' });
  const isAlive = (pid: number): boolean => {
    // A zombie is over; who takes it away is not ours to say.
    const path = `/proc/${pid}/stat`;
    return existsSync(path) && !/\) Z /.test(readFileSync(path, 'utf8'));
  };
  for (const mark of marks) {
    const pid = Number(readFileSync(mark, 'utf8'));
    while (isAlive(pid)) await sleep(2);
  }
});

test('the passphrase is not told to commands', async (context) => {
  process.env.PENSTOCK_PASSPHRASE = 'secret';
  context.after(() => {
    delete process.env.PENSTOCK_PASSPHRASE;
  });
  const target = newFile();
  const pipe = await pipeOf([shell('env; echo end'), into(target)]);
  await pipe.done;
  const said = readFileSync(target, 'utf8');
  assert.match(said, /end\n$/);
  assert.doesNotMatch(said, /secret/);
});
