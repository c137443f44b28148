/**
 * Goal: only who may gets in, in both directions, and a login that goes wrong ends with the right error.
 * Method: a scripted target on loopback with every kind of answer; tgt itself in test/system/tape-drive.test.ts.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ErrorCode, PenstockError } from '../../src/base/errors.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import type { ChapSecrets } from '../../src/scsi/iscsi-chap.ts';
import { discoverTargets, IscsiDevice, type IscsiOptions } from '../../src/scsi/iscsi-initiator.ts';
import { type Incoming, pdu, ScriptedTarget, type TargetOptions } from '../iscsi-target.ts';

const READY = { name: 'TEST UNIT READY', cdb: new Uint8Array(6), timeoutMs: 5000 };
const SECRET = 'a long secret 1';
const TARGET_SECRET = 'the other secret';
const secret = Buffer.from(SECRET);

async function login(
  options: TargetOptions,
  own: IscsiOptions = {},
  script?: (pdu: Incoming) => ReturnType<ScriptedTarget['script']>,
): Promise<{ device: IscsiDevice; target: ScriptedTarget; status: number }> {
  const target = await ScriptedTarget.start(options);
  if (script !== undefined) target.script = script;
  const device = new IscsiDevice(parseIscsiAddress(target.url()), own);
  try {
    const { status } = await device.execute(READY);
    return { device, target, status };
  } finally {
    await device.close();
    await target.stop();
  }
}

async function refused(code: ErrorCode, text: RegExp, attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error: PenstockError) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    assert.doesNotMatch(JSON.stringify([error.message, error.hint, error.stack]), /a long secret/);
    return true;
  });
}

for (const hash of ['md5', 'sha1', 'sha256'] as const) {
  test(`with CHAP (${hash}) both sides prove who they are`, async () => {
    const chap = { user: 'me', secret: SECRET, targetUser: 'you', targetSecret: TARGET_SECRET };
    const mutual: ChapSecrets = {
      user: 'me',
      secret,
      target: { user: 'you', secret: Buffer.from(TARGET_SECRET) },
    };
    const { status, target } = await login({ chap, hash }, { chap: mutual });
    assert.equal(status, 0);
    assert.deepEqual(target.violations, []);
    const oneWay = await login({ chap, hash }, { chap: { user: 'me', secret } });
    assert.equal(oneWay.status, 0);
    const words = Buffer.concat(oneWay.target.seen.map(({ data }) => data)).toString();
    assert(!words.includes(SECRET));
  });
}

test('a target that means SHA-1 by the number of SHA-256 is logged in to all the same', async () => {
  const chap = { user: 'me', secret: SECRET, targetSecret: TARGET_SECRET };
  const own = { user: 'me', secret, target: { secret: Buffer.from(TARGET_SECRET) } };
  const { status, target } = await login({ chap, mistakesHash: true }, { chap: own });
  assert.equal(status, 0);
  assert.equal(target.connections, 2);
});

test('a wrong secret, a wrong user and a missing one are refused', async () => {
  const chap = { user: 'me', secret: SECRET };
  const wrong = { user: 'me', secret: Buffer.from('a long secret 2') };
  await refused('DEVICE_REFUSED', /user or secret is wrong/, login({ chap }, { chap: wrong }));
  const other = { user: 'you', secret };
  await refused('DEVICE_REFUSED', /user or secret is wrong/, login({ chap }, { chap: other }));
  await refused('DEVICE_REFUSED', /wants authentication/, login({ chap }));
});

test('a target that cannot prove that it is the right one is refused', async () => {
  const chap = { user: 'me', secret: SECRET, targetSecret: 'not this one' };
  const mutual = { user: 'me', secret, target: { secret: Buffer.from(TARGET_SECRET) } };
  await refused('DEVICE_REFUSED', /does not know its own/, login({ chap }, { chap: mutual }));
  const silent = { user: 'me', secret: SECRET };
  await refused(
    'DEVICE_REFUSED',
    /does not know its own/,
    login({ chap: silent }, { chap: mutual }),
  );
  const named = { ...mutual, target: { ...mutual.target, user: 'you' } };
  const right = { ...chap, targetSecret: TARGET_SECRET, targetUser: 'somebody' };
  await refused('DEVICE_REFUSED', /does not know its own/, login({ chap: right }, { chap: named }));
});

test('a target that leaves CHAP out is not logged in to', async () => {
  await refused('DEVICE_REFUSED', /does not use CHAP/, login({}, { chap: { user: 'me', secret } }));
});

test('one secret for both directions is refused', async () => {
  const chap = { user: 'me', secret: SECRET, targetSecret: SECRET };
  const own = { user: 'me', secret, target: { secret } };
  await refused('DEVICE_REFUSED', /the same secret/, login({ chap }, { chap: own }));
});

test('a target that plays our challenge back to us is refused', async () => {
  const chap = { user: 'me', secret: SECRET, targetSecret: TARGET_SECRET };
  const own: IscsiOptions = {
    chap: { user: 'me', secret, target: { secret: Buffer.from(TARGET_SECRET) } },
    // All that is drawn is the same, so the target can know what we will ask.
    random: { bytes: (count) => Buffer.alloc(count, 9), fill: (view) => void view.fill(9) },
  };
  const script = ({ opcode, data, header }: Incoming) => {
    if (opcode !== 3 || !data.includes('CHAP_A')) return undefined;
    const text = Buffer.from(`CHAP_A=5\0CHAP_I=1\0CHAP_C=0x${'09'.repeat(16)}\0`);
    const answer = pdu(0x23, 0, { 16: header.readUInt32BE(16), 24: header.readUInt32BE(28) });
    answer.writeUIntBE(text.length, 5, 3);
    return { raw: Buffer.concat([answer, text, Buffer.alloc(-text.length & 3)]) };
  };
  await refused('DEVICE_PROTOCOL', /our own challenge/, login({ chap }, own, script));
});

test('statuses of logins become errors that say what to do', async () => {
  const at = (status: readonly [number, number]) => login({ loginStatus: status });
  await refused('DEVICE_REFUSED', /may not use it/, at([2, 2]));
  await refused('DEVICE_REFUSED', /no target of that name/, at([2, 3]));
  await refused('DEVICE_REFUSED', /refused \(status 2\/99\)/, at([2, 99]));
  await refused('DEVICE_BUSY', /cannot take a login now/, at([3, 1]));
});

test('a target may send us elsewhere, but not round and round', async () => {
  const real = await ScriptedTarget.start();
  try {
    const { status, target } = await login({ redirectTo: `127.0.0.1:${real.port},1` });
    assert.equal(status, 0);
    assert.equal(target.connections, 1);
    assert.equal(real.connections, 1);
  } finally {
    await real.stop();
  }
  const circle = await ScriptedTarget.start();
  const options = circle.options as { redirectTo?: string };
  options.redirectTo = `127.0.0.1:${circle.port}`;
  const device = new IscsiDevice(parseIscsiAddress(circle.url()));
  await refused('DEVICE_REFUSED', /from one address to the next/, device.execute(READY));
  assert.equal(circle.connections, 5);
  await circle.stop();
  await refused('DEVICE_PROTOCOL', /no address/, login({ redirectTo: 'http://evil/' }));
});

test('values that were not offered end the login', async () => {
  const keys = (more: Record<string, string>) => login({ keys: more });
  await refused('DEVICE_PROTOCOL', /HeaderDigest=MD5/, keys({ HeaderDigest: 'MD5' }));
  await refused('DEVICE_PROTOCOL', /Length=7/, keys({ MaxRecvDataSegmentLength: '7' }));
  const bad = keys({ MaxRecvDataSegmentLength: '9e9' });
  await refused('DEVICE_PROTOCOL', /MaxRecvDataSegmentLength=9e9/, bad);
  const digest = { offer: { headerDigest: 'required' } } as const;
  const none = login({ keys: { HeaderDigest: 'Reject' } }, digest);
  await refused('DEVICE_PROTOCOL', /no header digests/, none);
});

test('a connection that ends at any message of the login is told', async () => {
  for (let wanted = 1; wanted <= 2; wanted++) {
    let count = 0;
    const script = ({ opcode }: Incoming) => {
      count += 1;
      return opcode === 3 && count === wanted ? 'cut' : undefined;
    };
    await refused('DEVICE_LOST', /during the login/, login({}, {}, script));
    assert.equal(count, wanted);
  }
});

test('a target that says nothing is given up; nobody there is told at once', async () => {
  const times = { times: { loginMs: 100 } };
  await refused(
    'DEVICE_LOST',
    /in time/,
    login({}, times, () => 'stall'),
  );
  const gone = await ScriptedTarget.start();
  const url = gone.url();
  await gone.stop();
  const device = new IscsiDevice(parseIscsiAddress(url));
  await refused('DEVICE_UNREACHABLE', /ECONNREFUSED/, device.execute(READY));
});

test('bytes that are no login, however many, end it', async () => {
  const flood = { raw: Buffer.alloc(200_000, 0x41) };
  await refused(
    'DEVICE_PROTOCOL',
    /sent a header|sent operation|bytes of data/,
    login({}, {}, () => flood),
  );
  const endless = ({ header }: Incoming) => {
    const answer = pdu(0x23, 0x40, { 24: header.readUInt32BE(28) });
    answer.writeUIntBE(60_000, 5, 3);
    return { raw: Buffer.concat([answer, Buffer.alloc(60_000, 0x41)]) };
  };
  await refused('DEVICE_PROTOCOL', /too much text/, login({}, {}, endless));
});

test('targets of a portal are told, also in several parts', async () => {
  const sendTargets = [
    'TargetName=iqn.2026-01.test:a',
    'TargetAddress=127.0.0.1:3260,1',
    'TargetAddress=[::1]:860,2',
    'TargetName=iqn.2026-01.test:b',
    'TargetAddress=host.example,1',
  ];
  const target = await ScriptedTarget.start({ sendTargets });
  const found = await discoverTargets({ host: '127.0.0.1', port: target.port });
  assert.deepEqual(found, [
    {
      target: 'iqn.2026-01.test:a',
      portals: [
        { host: '127.0.0.1', port: 3260 },
        { host: '::1', port: 860 },
      ],
    },
    { target: 'iqn.2026-01.test:b', portals: [{ host: 'host.example', port: 3260 }] },
  ]);
  await target.stop();
  assert.deepEqual(target.violations, []);
});
