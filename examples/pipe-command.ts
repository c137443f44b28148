/**
 * External commands as modules: packs a directory with tar and zstd.
 *
 *     node examples/pipe-command.ts FOLDER packed.tar.zst
 */
import { externalCommand, startPipe } from '../src/mod.ts';

const [folder = '.', target = 'packed.tar.zst'] = process.argv.slice(2);

const pipe = await startPipe({
  maxBuffers: 12,
  payloadBytes: 256 * 1024,
  stages: [
    { name: 'collect', modules: [externalCommand('tar', ['-cf', '-', '-C', folder, '.'])] },
    { name: 'pack', modules: [externalCommand('zstd', ['-q', '-c'])], allocates: true },
    { name: 'write', modules: [externalCommand('dd', [`of=${target}`, 'bs=256k', 'status=none'])] },
  ],
});
await pipe.done;
console.log(`packed ${folder} into ${target}`);
