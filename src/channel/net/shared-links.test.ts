/**
 * Which shared connections the streams of a pipe take.
 *
 * Method: both sides in this process; what would be agents are sockets of this thread.
 */
import { equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { newMachine } from '../../../test/monitor-fixture.ts';
import { DataPort } from './data-port.ts';
import { ADMITTED } from './frame.ts';
import { type SharedEntrance, SharedPort, SharedUse } from './shared-links.ts';

interface Setting {
  /** Where a machine that calls its connections so is waited for. */
  entrance(name: string): SharedEntrance;
  /** Begins a pipe of one stream over them; resolves with the two ends of the stream. */
  begin(entrance: SharedEntrance): Promise<{ near: Socket; far: Socket; end(): void }>;
}

async function setting(t: TestContext): Promise<Setting> {
  const [client, server] = await Promise.all([newMachine(), newMachine()]);
  const port = await DataPort.open(['127.0.0.1'], 0);
  const shared = new SharedPort();
  const there = { host: '127.0.0.1', port: 0, fingerprint: server.identity.fingerprint };
  t.after(() => port.close());
  let pipes = 0;
  const begin: Setting['begin'] = async (entrance) => {
    const id = String(++pipes).padStart(32, '0');
    const far = Promise.withResolvers<Socket>();
    const near = Promise.withResolvers<Socket>();
    const open = (fd: number): Socket => {
      const socket = new Socket({ fd, readable: true, writable: true });
      t.after(() => socket.destroy());
      return socket.on('error', () => {});
    };
    const lost = (error: Error): void => {
      near.reject(error);
      far.reject(error);
    };
    const use = new SharedUse(client.identity, there);
    t.after(() => use.release());
    entrance.register(
      id,
      async ({ descriptor }) => {
        const socket = open(descriptor);
        socket.write(Uint8Array.of(ADMITTED));
        far.resolve(socket);
        return true;
      },
      lost,
    );
    const take = async ({ descriptor }: { descriptor: number }): Promise<boolean> => {
      near.resolve(open(descriptor));
      return true;
    };
    const target = { port: port.port, links: 1, id: entrance.id, secret: entrance.secret };
    const need = { id, agents: 1, links: 1 };
    use.keep(target, need, take, lost);
    return {
      near: await near.promise,
      far: await far.promise,
      end: () => {
        use.release();
        entrance.release(id);
      },
    };
  };
  const entrance = (name: string): SharedEntrance =>
    shared.use(server.identity, client.identity.fingerprint, name, port);
  return { entrance, begin };
}

test('a pipe that says late where the other side waited before takes nothing from others', async (t) => {
  const { entrance, begin } = await setting(t);
  const newer = await begin(entrance('newer'));
  const older = await begin(entrance('older'));
  for (const { near, far } of [newer, older]) {
    near.write('here');
    const [bytes] = (await once(far, 'data')) as [Buffer];
    equal(bytes.toString(), 'here');
  }
  // What nobody needs any more ends, what is needed stays.
  const closed = once(older.far, 'close');
  older.near.destroy();
  older.end();
  await closed;
  newer.near.write('still');
  const [bytes] = (await once(newer.far, 'data')) as [Buffer];
  equal(bytes.toString(), 'still');
  ok(!newer.near.destroyed);
  newer.end();
});
