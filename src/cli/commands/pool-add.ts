/**
 * `penstock pool add`: a pool of volumes for the repository.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { addPool, leastBlockBytes, type PoolSettings } from '../../mover/pools.ts';
import { absolutePath } from '../absolute-path.ts';
import { driveAddresses } from '../drive-addresses.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { poolPlace, poolRecord } from '../render-media.ts';

/** An interrupted backup goes on from the last chunk: a volume has room for so many at least. */
const CHUNKS_OF_A_VOLUME = 16;

type Options = Invocation<'pool add'>['options'];

export default async function run(invocation: Invocation<'pool add'>): Promise<number> {
  const { output, options, positionals } = invocation;
  const place = options.kind === 'tape' ? tapesOf(options) : imagesOf(options);
  const repository = await openRepositoryOf(invocation);
  try {
    const { kind, markBytes, logPlace, logEntries, syncBytes, bufferBytes, startPercent } = options;
    const { volumeBytes } = place;
    const blockBytes = options.blockBytes ?? leastBlockBytes(repository);
    const share =
      volumeBytes === 0
        ? LIMITS.volumeChunkBytesDefault
        : Math.floor(volumeBytes / CHUNKS_OF_A_VOLUME);
    const chunkBytes =
      options.chunkBytes ?? Math.max(blockBytes, Math.min(share, LIMITS.volumeChunkBytesDefault));
    const pool = await addPool(repository, {
      name: positionals.pool,
      kind,
      ...place,
      blockBytes,
      chunkBytes,
      markBytes,
      ...(syncBytes === undefined ? {} : { syncBytes }),
      ...(bufferBytes === undefined ? {} : { bufferBytes }),
      ...(startPercent === undefined ? {} : { startPercent: Math.round(startPercent) }),
      logPlace,
      logEntries,
    });
    const where = poolPlace(pool);
    const text = `pool ${pool.name} is made; \`penstock backup --pool ${pool.name}\` writes to ${where}`;
    output.summary({ command: 'pool add', pool: poolRecord(pool, []) }, text);
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}

type Place = Pick<
  PoolSettings,
  'path' | 'volumeBytes' | 'device' | 'changer' | 'drive' | 'otherDrives' | 'drives'
>;

function imagesOf({ path, volumeBytes, drives, device, changer }: Options): Place {
  if (path === undefined || volumeBytes === undefined) {
    const flag = path === undefined ? '--path' : '--volume-size';
    throw new PenstockError('USAGE', `a pool of tape images needs ${flag}`);
  }
  if (device.length > 0 || changer !== undefined) {
    throw new PenstockError('USAGE', 'a pool of tape images has no drive', {
      hint: 'for tapes in a drive give --kind tape',
    });
  }
  return { path: absolutePath(path), volumeBytes, ...(drives === undefined ? {} : { drives }) };
}

function tapesOf({ device: devices, changer, drive: numbers }: Options): Place {
  const [first, ...otherDrives] = driveAddresses(devices, numbers, changer);
  if (first === undefined) throw new PenstockError('USAGE', 'a pool of tapes needs --device');
  return {
    path: '',
    volumeBytes: 0,
    ...first,
    ...(otherDrives.length === 0 ? {} : { otherDrives }),
    ...(changer === undefined ? {} : { changer }),
  };
}
