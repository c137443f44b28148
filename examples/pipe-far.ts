/**
 * A pipe to another machine: the words of a file here, in capitals, for a program there.
 *
 *     node examples/pipe-far.ts words.txt backup.example.org     here, paired as a client of that machine
 *     penstock attach words --as tail                            there, where its monitor runs
 *
 * The other machine has to let this one use the module: `penstock pair token --module unbound`.
 */
import { extendPipe, userStateDirectory } from '../src/mod.ts';

const [source, address = ''] = process.argv.slice(2);
const [host = '', port = '7420'] = address.split(':');
const module = (name: string): URL => new URL(`./pipe-words-${name}.ts`, import.meta.url);

const pipe = await extendPipe({
  stateDirectory: userStateDirectory(),
  program: 'words',
  machine: { host, port: Number(port) },
  flow: 'push',
  near: {
    name: 'words',
    maxBuffers: 8,
    payloadBytes: 256 * 1024,
    stages: [
      { name: 'read', modules: [{ module: module('read'), options: source }] },
      { name: 'upper', modules: [{ module: module('upper') }], instances: 2, ordered: true },
    ],
  },
  far: { stages: [{ name: 'out', modules: [{ name: 'unbound' }] }], minBuffers: 2 },
});
console.log(`the pipe ${pipe.name} waits for its program on ${host}`);
const { out } = await pipe.done;
console.log(`${out?.[1]} bytes have arrived`);
