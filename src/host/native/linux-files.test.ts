/** What only Linux's own implementation does, beyond the contract of the port. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { fromText } from '../../base/bytes.ts';
import { CWD, DirectoryListing, errnoName, FileStatus, openFiles } from '../mod.ts';
import { type CFunction, declareCall, loadLibc, loadProgram } from './libc.ts';
import { LinuxAttributes } from './linux-attributes.ts';

const DOOR = JSON.stringify(new URL('../mod.ts', import.meta.url).href);

const files = openFiles();
const path = mkdtempSync(join(tmpdir(), 'penstock-linux-'));
const root = files.openDirectoryFollow(CWD, fromText(path));
after(() => {
  files.close(root);
  rmSync(path, { recursive: true });
});

const handles = (): number => readdirSync('/proc/self/fd').length;

test('handles are not inherited by child processes', () => {
  writeFileSync(join(path, 'inherit'), 'x');
  const fds = [
    files.openRead(root, 'inherit'),
    files.openWrite(root, 'inherit'),
    files.createExclusive(root, 'inherit-new', 0o600),
    files.openDirectory(root, '.'),
    root,
  ];
  const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
  assert.match(stdout, /0 -> /);
  assert(!stdout.includes(path), stdout);
  for (const fd of fds) if (fd !== root) assert.equal(files.close(fd), 0);
});

test('the status is that which Node sees', () => {
  const status = new FileStatus();
  for (const name of ['/etc/passwd', '/dev/null', '/proc/self/stat', '/', '/etc/localtime']) {
    const result = files.statusFollow(CWD, name, status);
    if (errnoName(result) === 'ENOENT') continue;
    const expected = statSync(name, { bigint: true });
    assert.equal(status.mode | (status.kind << 12), Number(expected.mode), name);
    assert.equal(status.size, Number(expected.size), name);
    assert.equal(BigInt(status.inode), expected.ino, name);
    assert.equal(status.nlink, Number(expected.nlink), name);
    assert.equal(status.mtimeSeconds, Number(expected.mtimeNs / 1_000_000_000n), name);
    assert.equal(status.mtimeNanos, Number(expected.mtimeNs % 1_000_000_000n), name);
    assert.equal(status.ctimeSeconds, Number(expected.ctimeNs / 1_000_000_000n), name);
    assert.equal(status.blocks512, Number(expected.blocks), name);
    const device = BigInt(status.deviceMajor) * 256n + BigInt(status.deviceMinor);
    if (status.deviceMinor < 256) assert.equal(device, expected.dev, name);
    assert(status.mountId > 0, name);
  }
});

test('names of users and groups are those of the system', () => {
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name, , id] = line.split(':');
    if (name === undefined || id === undefined) continue;
    assert.equal(files.userId(name), Number(id));
  }
  for (const line of readFileSync('/etc/group', 'utf8').split('\n')) {
    const [name, , id] = line.split(':');
    if (name === undefined || id === undefined) continue;
    assert.equal(files.groupId(name), Number(id));
  }
});

test('reading an own file leaves its access time alone', () => {
  const file = join(path, 'accessed');
  writeFileSync(file, 'content');
  // Two days ago, so that a mount with `relatime` would change it.
  utimesSync(file, 1_000_000_000, 2_000_000_000);
  const fd = files.openRead(root, 'accessed');
  assert.equal(files.read(fd, new Uint8Array(7), 0, 7, 0), 7);
  files.close(fd);
  assert.equal(statSync(file).atimeMs, 1_000_000_000_000);
});

test('when no more files can be opened, that is the answer, and none is lost', () => {
  const before = handles();
  const script = [
    `import { CWD, openFiles, errnoName } from ${DOOR};`,
    'const files = openFiles();',
    'let fd = 0, count = 0;',
    "while ((fd = files.openRead(CWD, '/dev/null')) >= 0) count += 1;",
    'console.log(errnoName(fd), count > 10 && count < 256);',
  ].join('\n');
  const child = [
    '-c',
    'ulimit -n 256 && exec "$0" --input-type=module -e "$1"',
    process.execPath,
    script,
  ];
  const { stdout, stderr } = spawnSync('sh', child, { encoding: 'utf8' });
  assert.equal(stdout, 'EMFILE true\n', stderr);
  for (let i = 0; i < 200; i++) {
    assert.equal(errnoName(files.openRead(root, 'none')), 'ENOENT');
    const fd = files.openRead(root, 'accessed');
    assert(fd >= 0);
    assert.equal(files.close(fd), 0);
  }
  assert.equal(handles(), before);
});

test('files that the kernel makes up as they are read are read whole', () => {
  const fd = files.openRead(CWD, '/proc/self/maps');
  const bytes = Buffer.alloc(1 << 20);
  const length = files.read(fd, bytes, 0, bytes.length, 0);
  files.close(fd);
  assert(length > 4096);
  assert(bytes.toString('latin1', 0, length).endsWith('\n'));
  const listing = new DirectoryListing();
  const self = files.openDirectory(CWD, '/proc/self/fd');
  assert(files.list(self, listing) > 3);
  files.close(self);
});

test('every thread has files and a codec of its own, and leaves nothing behind', async () => {
  const program = [
    `import { CWD, errnoName, openCodec, openFiles } from ${DOOR};`,
    "import { parentPort } from 'node:worker_threads';",
    'const files = openFiles();',
    "const error = errnoName(files.openRead(CWD, '/none'));",
    'const codec = openCodec(new Uint8Array(32));',
    'const view = new Uint8Array(1000);',
    'const length = codec.compress(view, 0, 500, view, 500, 500, 3);',
    'parentPort.postMessage([error, codec.kind, length > 0]);',
  ].join('\n');
  for (let round = 0; round < 2; round++) {
    const workers = [0, 1].map(
      () => new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`)),
    );
    const ends = workers.map((worker) => once(worker, 'exit'));
    const messages = workers.map((worker) => once(worker, 'message'));
    for (const message of await Promise.all(messages)) {
      assert.deepEqual(message[0], ['ENOENT', 'native', true]);
    }
    for (const end of await Promise.all(ends)) assert.deepEqual(end, [0]);
  }
});

test('a process ends with the one that started it', { timeout: 30_000 }, async () => {
  const inner = `import(${DOOR}).then(({ openFiles }) => {
    openFiles().dieWithParent(); console.log(process.pid); setInterval(() => {}, 1000); });`;
  const outer = `const { spawn } = require('node:child_process');
    spawn(process.execPath, ['-e', ${JSON.stringify(inner)}], { stdio: 'inherit' });
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['-e', outer], { stdio: ['ignore', 'pipe', 'inherit'] });
  const pid = Number(String((await once(parent.stdout, 'data'))[0]));
  assert(pid > 0);
  // The pipe closes when its last holder, the child, has ended; else this waits for ever.
  const closed = once(parent, 'close');
  parent.kill('SIGKILL');
  await closed;
});

test('what a call fails with is its answer, and only of a call that fails', () => {
  const program = loadProgram();
  const close = program.declare('close', 'int', ['int']);
  const answers = [-1, -1, 7, 0];
  const declared = {
    ...program,
    declare: (name: string, result: string, parameters: readonly string[]): CFunction =>
      name === 'some_call'
        ? (fd) => {
            close(fd as number);
            return answers.shift() as number;
          }
        : program.declare(name, result, parameters),
  };
  const call = declareCall(declared, 'some_call', 'int', ['int']);
  assert.equal(errnoName(call(-1)), 'EBADF');
  // Another failure between a call and the look at its answer changes nothing.
  const refused = files.openRead(root, 'none');
  close(-1);
  assert.equal(errnoName(refused), 'ENOENT');
  assert.equal(errnoName(call(-1)), 'EBADF');
  assert.deepEqual([call(-1), call(-1)], [7, 0]);
});

test('attributes by name are read as well where the system cannot list them by handle', () => {
  writeFileSync(join(path, 'attributed'), '');
  writeFileSync(join(path, 'plain'), '');
  const set = files.setAttribute(root, 'attributed', 'user.penstock', Buffer.from('value'));
  if (set < 0) return;
  const missing = declareCall(loadProgram(), 'syscall', 'int64_t', ['int64_t']);
  let asked = 0;
  const libc = loadLibc(process.arch === 'arm64' ? 'arm64' : 'x64');
  const listxattrat = (): number => {
    asked++;
    return missing(99_999);
  };
  for (const calls of [libc, { ...libc, listxattrat }]) {
    const attributes = new LinuxAttributes(calls);
    assert.deepEqual(attributes.ofName(root, 'plain'), []);
    const found = attributes.ofName(root, 'attributed');
    assert.ok(typeof found !== 'number');
    const texts = found.map(({ name, value }) => [name, Buffer.from(value).toString()]);
    assert.deepEqual(texts, [['user.penstock', 'value']]);
  }
  assert.equal(asked, 1, 'it is asked once');
});
