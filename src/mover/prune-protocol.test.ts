/**
 * Goal: the protocol's steps are those of its table, waiting and giving up follow the policy, and
 * records that cannot be read stand in nobody's way for ever. (That nothing is lost in any order is
 * shown by test/property/prune-protocol.test.ts.)
 * Method: the driver over a small store in memory that writes down each operation.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { judgeLeases, readLeases } from './leases.ts';
import {
  type Kind,
  type LeaseRecord,
  type Listed,
  type ProtocolStore,
  type RecordKind,
  type Records,
  runProtocol,
} from './protocol-store.ts';
import {
  beat,
  beginSession,
  type Commit,
  commitSession,
  condemnChunks,
  decideCondemned,
  dropIndexEntries,
  endSession,
  finishCondemned,
  type LeasePolicy,
  mayCondemn,
  surveyStore,
  sweepLeftovers,
} from './prune-protocol.ts';

const DAMAGE = 'damaged';
const POLICY: LeasePolicy = { leaseExpiryMs: 100, graceMs: 150, stampSlackMs: 10 };
const HOLDER: Omit<LeaseRecord, 'createdMs' | 'role'> = {
  hostName: 'host',
  machineId: 'm',
  bootId: 'b',
  namespace: 'n',
  pid: 1,
  startTicks: 1,
};

class MemoryStore implements ProtocolStore {
  readonly objects = new Map<string, { record: unknown; stampMs: number }>();
  readonly log: string[] = [];
  clockMs = 1000;

  has(kind: Kind, id: string): boolean {
    return this.objects.has(`${kind}/${id}`);
  }

  set(kind: Kind, id: string, record: unknown = {}, stampMs: number = this.clockMs): void {
    this.objects.set(`${kind}/${id}`, { record, stampMs });
  }

  async list(kind: Kind): Promise<readonly Listed[]> {
    this.log.push(`list ${kind}`);
    const found: Listed[] = [];
    for (const [name, { stampMs }] of this.objects) {
      if (name.startsWith(`${kind}/`)) found.push({ id: name.slice(kind.length + 1), stampMs });
    }
    return found;
  }

  async read<K extends RecordKind>(kind: K, id: string): Promise<Records[K] | null> {
    this.log.push(`read ${kind}/${id}`);
    const record = this.objects.get(`${kind}/${id}`)?.record;
    if (record === DAMAGE) throw new PenstockError('DAMAGED', `${kind}/${id} is damaged`);
    return (record ?? null) as Records[K] | null;
  }

  async put<K extends RecordKind>(kind: K, id: string, record: Records[K]): Promise<boolean> {
    this.log.push(`put ${kind}/${id}`);
    if (this.has(kind, id)) return false;
    this.set(kind, id, record);
    return true;
  }

  async remove(kind: Kind, id: string): Promise<void> {
    this.log.push(`remove ${kind}/${id}`);
    this.objects.delete(`${kind}/${id}`);
  }

  async publish(id: string): Promise<boolean> {
    this.log.push(`publish ${id}`);
    const pending = this.objects.get(`pending/${id}`);
    if (pending !== undefined) this.set('archive', id, pending.record);
    return pending !== undefined;
  }

  async touch(id: string): Promise<boolean> {
    this.log.push(`touch ${id}`);
    const lease = this.objects.get(`lease/${id}`);
    if (lease !== undefined) lease.stampMs = this.clockMs;
    return lease !== undefined;
  }

  async now(): Promise<number> {
    this.log.push('now');
    return this.clockMs;
  }
}

function setLease(
  store: MemoryStore,
  id: string,
  role: LeaseRecord['role'],
  createdMs: number,
): void {
  store.set('lease', id, { ...HOLDER, role, createdMs }, createdMs);
}

/** A store with chunks c1 and c2, one index segment each, and c1 condemned as k1. */
function condemnedStore(known: string[] = []): MemoryStore {
  const store = new MemoryStore();
  for (const id of ['c1', 'c2']) {
    store.set('chunk', id);
    store.set('index', `i-${id}`, Buffer.from(id));
  }
  store.set('condemn', 'k1', { chunks: [{ id: 'c1', relies: [] }], known });
  return store;
}

function commitOf(change: Partial<Commit> = {}): Commit {
  return {
    sessionId: 's',
    archiveId: 'a1',
    record: { session: 's', chunks: ['c1', 'c2'], body: Buffer.from('archive') },
    leaseExpiryMs: 100,
    leaseAgeMs: () => 0,
    ...change,
  };
}

const dropped = {
  newId: () => 'new',
  edit: (segment: Uint8Array, isGone: (id: string) => boolean) =>
    isGone(Buffer.from(segment).toString()) ? null : undefined,
};

test('a session: lease, commit and end make these operations in this order', async () => {
  const store = condemnedStore();
  const { avoid } = await runProtocol(beginSession('s', { role: 'backup', ...HOLDER }), store);
  assert.deepEqual([...avoid], ['c1']);
  assert.equal(await runProtocol(beat('s'), store), true);
  const outcome = await runProtocol(commitSession(commitOf()), store);
  assert.deepEqual(outcome, { outcome: 'published' });
  await runProtocol(endSession('s'), store);
  assert.deepEqual(store.log, [
    'now',
    'put lease/s',
    'list condemn',
    'read condemn/k1',
    'touch s',
    'touch s',
    'put pending/a1',
    'list deleting',
    'list chunk',
    'publish a1',
    'remove pending/a1',
    'remove lease/s',
  ]);
  assert.deepEqual(await store.read('archive', 'a1'), commitOf().record);
  assert.equal(await runProtocol(beat('s'), store), false);
});

test('a commit after the lease ran out, or was taken away, touches nothing', async () => {
  const store = condemnedStore();
  setLease(store, 's', 'backup', 1000);
  const late = await runProtocol(commitSession(commitOf({ leaseAgeMs: () => 100 })), store);
  assert.deepEqual(late, { outcome: 'lost', because: 'lease' });
  assert.deepEqual(store.log, []);
  await store.remove('lease', 's');
  const removed = await runProtocol(commitSession(commitOf()), store);
  assert.deepEqual(removed, { outcome: 'lost', because: 'lease' });
  assert.ok(!store.has('pending', 'a1') && !store.has('archive', 'a1'));
});

test('a commit that needs chunks gone or being deleted withdraws and names them', async () => {
  const store = condemnedStore();
  setLease(store, 's', 'backup', 1000);
  store.set('deleting', 'k1');
  // A marker whose record is gone is over: it says nothing.
  store.set('deleting', 'k0');
  await store.remove('chunk', 'c2');
  const outcome = await runProtocol(commitSession(commitOf()), store);
  assert.deepEqual(outcome, { outcome: 'lost', because: 'chunks', chunks: ['c1', 'c2'] });
  assert.ok(!store.has('pending', 'a1') && !store.has('archive', 'a1'));
});

test('a prune: condemn, decide, drop and finish make these operations in this order', async () => {
  const store = condemnedStore();
  await store.remove('condemn', 'k1');
  store.log.length = 0;
  const survey = await runProtocol(surveyStore(POLICY), store);
  assert.ok(mayCondemn(survey, 'c1', 'old'));
  const record = { chunks: [{ id: 'c1', relies: ['c2'] }], known: [...survey.archives] };
  await runProtocol(condemnChunks('k2', record), store);
  const decision = await runProtocol(decideCondemned('k2', POLICY), store);
  assert.deepEqual(decision, { state: 'decided', remove: ['c1'], rescued: [] });
  await runProtocol(dropIndexEntries(['c1'], dropped), store);
  await runProtocol(finishCondemned('k2', ['c1']), store);
  assert.deepEqual(store.log, [
    ...['list condemn', 'list chunk', 'now', 'list lease', 'now', 'list pending', 'list archive'],
    'put condemn/k2',
    ...['list condemn', 'read condemn/k2', 'read verdict/k2'],
    ...['list pending', 'now', 'list lease', 'now', 'now', 'put deleting/k2'],
    ...['list pending', 'list archive', 'list condemn', 'read condemn/k2', 'list chunk'],
    ...['put verdict/k2', 'read verdict/k2', 'read condemn/k2'],
    ...['list index', 'list chunk', 'read index/i-c1', 'remove index/i-c1', 'read index/i-c2'],
    ...['remove chunk/c1', 'remove condemn/k2', 'remove verdict/k2', 'remove deleting/k2'],
  ]);
  assert.deepEqual([...store.objects.keys()], ['chunk/c2', 'index/i-c2']);
});

test('a survey shields what others are about to use', async () => {
  const store = condemnedStore();
  store.set('condemn', 'k2', { chunks: [{ id: 'c9', relies: ['c2'] }], known: [] });
  for (const id of ['c3', 'c4', 'c5']) store.set('chunk', id);
  store.set('pending', 'p', { session: 'x', chunks: ['c3'] });
  setLease(store, 'alive', 'backup', 1000);
  setLease(store, 'expired', 'backup', 800);
  const survey = await runProtocol(surveyStore(POLICY), store);
  assert.deepEqual(survey.condemned, ['k1', 'k2']);
  const worthIt = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6'].filter((id) =>
    mayCondemn(survey, id, 'expired'),
  );
  assert.deepEqual(worthIt, ['c4', 'c5']);
  assert.ok(!mayCondemn(survey, 'c4', 'alive'));
});

test('a condemned chunk that relies on one of its own record is a defect', async () => {
  const chunks = [
    { id: 'c1', relies: ['c2'] },
    { id: 'c2', relies: [] },
  ];
  const steps = condemnChunks('k', { chunks, known: [] });
  await assert.rejects(runProtocol(steps, new MemoryStore()), /relies on another of its record/);
});

test('a condemn record waits for older backups and restores, not for prunes', async () => {
  const store = condemnedStore();
  setLease(store, 'backup', 'backup', 990);
  setLease(store, 'restore', 'restore', 1010);
  setLease(store, 'younger', 'backup', 1011);
  setLease(store, 'prune', 'prune', 990);
  const waiting = { state: 'waiting', leases: ['backup', 'restore'], graceLeftMs: 150 };
  assert.deepEqual(await runProtocol(decideCondemned('k1', POLICY), store), waiting);
  assert.ok(!store.has('deleting', 'k1'));
  await store.remove('lease', 'backup');
  await store.remove('lease', 'restore');
  const decision = await runProtocol(decideCondemned('k1', POLICY), store);
  assert.deepEqual(decision, { state: 'decided', remove: ['c1'], rescued: [] });
});

test('an expired lease makes the grace count; that of a dead process does not', async () => {
  const store = condemnedStore();
  setLease(store, 'silent', 'backup', 900);
  store.clockMs = 1120;
  const waiting = { state: 'waiting', leases: [], graceLeftMs: 30 };
  assert.deepEqual(await runProtocol(decideCondemned('k1', POLICY), store), waiting);
  const knowing = { ...POLICY, isKnownDead: (id: string) => id === 'silent' };
  assert.equal((await runProtocol(decideCondemned('k1', knowing), store)).state, 'decided');
});

test('a prune that is slow itself does not find others idle', async () => {
  const store = new MemoryStore();
  setLease(store, 'busy', 'backup', 1000);
  let step = 0;
  store.now = async () => (step++ === 0 ? 1000 : 9000);
  store.list = async () => [{ id: 'busy', stampMs: 5000 }];
  const leases = await runProtocol(readLeases(POLICY), store);
  assert.deepEqual(
    leases.map(({ state }) => state),
    ['alive'],
  );
});

test('a lease stamped by a clock far ahead counts as expired after the grace', async () => {
  const store = new MemoryStore();
  setLease(store, 'ahead', 'backup', 1000);
  await store.touch('ahead');
  store.clockMs = 100;
  const leases = await runProtocol(readLeases(POLICY), store);
  assert.equal(leases[0]?.state, 'expired');
  assert.equal(judgeLeases(leases, 1000, 1100, POLICY)?.graceLeftMs, 50);
  assert.equal(judgeLeases(leases, 1000, 1150, POLICY), null);
});

test('chunks are rescued that others name or rely on', async () => {
  const decide = async (store: MemoryStore) => runProtocol(decideCondemned('k1', POLICY), store);
  const rescued = { state: 'decided', remove: [], rescued: ['c1'] };
  const named = { session: 's', chunks: ['c1'] };

  const pending = condemnedStore();
  pending.set('pending', 'p', named);
  setLease(pending, 's', 'backup', 2000);
  pending.clockMs = 2000;
  assert.deepEqual(await decide(pending), rescued);

  const unknown = condemnedStore();
  unknown.set('archive', 'a', named);
  assert.deepEqual(await decide(unknown), rescued);

  const known = condemnedStore(['a']);
  known.set('archive', 'a', named);
  assert.deepEqual(await decide(known), { state: 'decided', remove: ['c1'], rescued: [] });

  const relied = condemnedStore();
  relied.set('condemn', 'k2', { chunks: [{ id: 'c2', relies: ['c1'] }], known: [] });
  assert.deepEqual(await decide(relied), rescued);

  const moved = condemnedStore();
  moved.set('archive', 'a', { session: 's', chunks: ['c7'] });
  assert.deepEqual(await decide(moved), rescued);
});

test('a verdict is followed as it stands; one without its record is cleared away', async () => {
  const store = condemnedStore();
  store.set('verdict', 'k1', { remove: [] });
  const decision = await runProtocol(decideCondemned('k1', POLICY), store);
  assert.deepEqual(decision, { state: 'decided', remove: [], rescued: ['c1'] });
  await store.remove('condemn', 'k1');
  store.set('deleting', 'k1');
  assert.deepEqual(await runProtocol(decideCondemned('k1', POLICY), store), { state: 'gone' });
  assert.ok(!store.has('verdict', 'k1') && !store.has('deleting', 'k1'));
});

test('leftovers of crashes are swept: markers, pendings, long expired leases', async () => {
  const store = condemnedStore();
  store.set('deleting', 'k1');
  store.set('deleting', 'k0');
  store.set('verdict', 'k0');
  setLease(store, 'expired', 'backup', 1000);
  setLease(store, 'long', 'backup', 950);
  setLease(store, 'alive', 'backup', 1200);
  store.clockMs = 1201;
  for (const session of ['expired', 'long', 'alive', 'none']) {
    store.set('pending', session, { session, chunks: [] });
  }
  await runProtocol(sweepLeftovers(POLICY), store);
  const left = [...store.objects.keys()].filter((name) => !/^(chunk|index|condemn)/.test(name));
  assert.deepEqual(left.sort(), ['deleting/k1', 'lease/alive', 'lease/expired', 'pending/alive']);
});

test('entries of a verdict and of chunks that are gone are dropped, new before old', async () => {
  const store = condemnedStore();
  await store.remove('chunk', 'c2');
  store.set('chunk', 'c3');
  store.set('index', 'i-mixed', Buffer.from('c1 c2 c3'));
  store.set('index', 'i-damaged', DAMAGE);
  store.log.length = 0;
  const edit = (
    segment: Uint8Array,
    isGone: (id: string) => boolean,
  ): Uint8Array | null | undefined => {
    const ids = Buffer.from(segment).toString().split(' ');
    const rest = ids.filter((id) => !isGone(id));
    if (rest.length === ids.length) return undefined;
    return rest.length === 0 ? null : Buffer.from(rest.join(' '));
  };
  await runProtocol(dropIndexEntries(['c1'], { newId: () => 'i-new', edit }), store);
  assert.equal(String(await store.read('index', 'i-new')), 'c3');
  const writes = store.log.filter((line) => !/^(list|read)/.test(line));
  assert.deepEqual(writes, [
    ...['remove index/i-c1', 'remove index/i-c2', 'put index/i-new', 'remove index/i-mixed'],
  ]);
});

test('a damaged condemn record stops commits beside its marker, until a prune', async () => {
  const store = condemnedStore();
  store.set('condemn', 'k1', DAMAGE);
  store.set('deleting', 'k1');
  const { avoid } = await runProtocol(beginSession('s', { role: 'restore', ...HOLDER }), store);
  assert.equal(avoid.size, 0);
  await assert.rejects(runProtocol(commitSession(commitOf()), store), { code: 'DAMAGED' });
  await runProtocol(endSession('s'), store);
  assert.deepEqual((await runProtocol(surveyStore(POLICY), store)).condemned, ['k1']);
  const decision = await runProtocol(decideCondemned('k1', POLICY), store);
  assert.deepEqual(decision, { state: 'decided', remove: [], rescued: [] });
  await runProtocol(finishCondemned('k1', []), store);
  assert.ok(
    !store.has('condemn', 'k1') && !store.has('deleting', 'k1') && store.has('chunk', 'c1'),
  );
});

test('a damaged condemn record with a verdict is carried out by the verdict', async () => {
  const store = condemnedStore();
  store.set('condemn', 'k1', DAMAGE);
  store.set('verdict', 'k1', { remove: ['c1'] });
  const decision = await runProtocol(decideCondemned('k1', POLICY), store);
  assert.deepEqual(decision, { state: 'decided', remove: ['c1'], rescued: [] });
});

test('where it cannot be told what others need, all chunks are rescued', async () => {
  const rescued = { state: 'decided', remove: [], rescued: ['c1'] };
  for (const kind of ['archive', 'condemn'] as const) {
    const store = condemnedStore();
    store.set(kind, 'x', DAMAGE);
    assert.deepEqual(await runProtocol(decideCondemned('k1', POLICY), store), rescued);
  }
  // A damaged pending record must not become an archive; it goes at once.
  const store = condemnedStore();
  store.set('pending', 'x', DAMAGE);
  setLease(store, 's', 'backup', 5000);
  store.clockMs = 5000;
  assert.equal((await runProtocol(decideCondemned('k1', POLICY), store)).state, 'decided');
  assert.ok(!store.has('pending', 'x'));
});

test('a damaged lease is waited for like an old session, until its stamp has expired', async () => {
  const store = condemnedStore();
  store.set('lease', 's', DAMAGE);
  const waiting = { state: 'waiting', leases: ['s'], graceLeftMs: 150 };
  assert.deepEqual(await runProtocol(decideCondemned('k1', POLICY), store), waiting);
  store.clockMs += 151;
  assert.equal((await runProtocol(decideCondemned('k1', POLICY), store)).state, 'decided');
});

test('what a store throws reaches the caller, through the steps', async () => {
  const store = condemnedStore();
  setLease(store, 's', 'backup', 1000);
  store.publish = async () => {
    throw new PenstockError('REPO_IO', 'the storage is away');
  };
  await assert.rejects(runProtocol(commitSession(commitOf()), store), { code: 'REPO_IO' });
  assert.ok(store.has('pending', 'a1'), 'as after a crash: a prune clears it away');
});
