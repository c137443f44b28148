/**
 * From an address to a session: connecting, the exchange of the login, and going where a target sends us.
 *
 * Contract: all of it within the limits of iscsi-times.ts and LIMITS.iscsiRedirectsMax. A login that fails
 * leaves no connection.
 */
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Clock } from '../host/mod.ts';
import { CHAP_ALL, CHAP_MD5 } from './iscsi-chap.ts';
import { type ConnectionEvents, PduConnection } from './iscsi-connection.ts';
import type { SessionParameters } from './iscsi-keys.ts';
import { Login, type LoginAnswer, type LoginOptions, type LoginStep } from './iscsi-login.ts';
import { nextNumber, type TargetPdu, writeLogin } from './iscsi-pdu.ts';
import { IscsiSession } from './iscsi-session.ts';
import { decodeText, encodeText } from './iscsi-text.ts';
import type { IscsiTimes } from './iscsi-times.ts';

export interface Portal {
  readonly host: string;
  readonly port: number;
}

export interface OpenOptions extends LoginOptions {
  readonly portal: Portal;
  /** The session's name on our side; the same again makes the target end an older one. */
  readonly isid: Uint8Array;
  readonly clock: Clock;
  readonly times: IscsiTimes;
}

export const ISCSI_PORT = 3260;

/** @throws PenstockError DEVICE_UNREACHABLE, DEVICE_REFUSED, DEVICE_BUSY, DEVICE_LOST, DEVICE_PROTOCOL */
export async function openSession(options: OpenOptions): Promise<IscsiSession> {
  let portal = options.portal;
  for (let redirects = 0; redirects <= LIMITS.iscsiRedirectsMax; redirects++) {
    const outcome = await loginAt(portal, options);
    if (outcome instanceof IscsiSession) return outcome;
    portal = outcome;
  }
  throw new PenstockError('DEVICE_REFUSED', 'the target sends us from one address to the next');
}

/**
 * Before CHAP knew SHA-256 some targets (tgt) gave its number to SHA-1: where the answer is found wrong, the
 * right one is tried with MD5, which means the same to all.
 */
async function loginAt(portal: Portal, options: OpenOptions): Promise<IscsiSession | Portal> {
  const exchange = new LoginExchange(options, CHAP_ALL);
  try {
    return await exchange.run(portal);
  } catch (thrown) {
    if (!exchange.isJudged) throw thrown;
    return await new LoginExchange(options, CHAP_MD5).run(portal).catch(() => {
      throw thrown;
    });
  }
}

/** `host:port`, `[address]:port`, perhaps with `,group`, as targets write it. */
export function parsePortal(text: string): Portal | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@[\],]+))(?::(\d{1,5}))?(?:,\d{1,5})?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? ISCSI_PORT : Number(match[3]);
  return host === undefined || port === 0 || port > 65_535 ? undefined : { host, port };
}

/** One connection's login. */
class LoginExchange implements ConnectionEvents {
  readonly #options: OpenOptions;
  readonly #login: Login;
  readonly #settled: Promise<IscsiSession | Portal>;
  #resolve: (outcome: IscsiSession | Portal) => void = () => undefined;
  #reject: (error: PenstockError) => void = () => undefined;
  #connection: PduConnection | undefined;
  #expStatSn = 0;
  #tsih = 0;
  #text: Buffer = Buffer.alloc(0);

  constructor(options: OpenOptions, algorithms: readonly string[]) {
    this.#options = options;
    this.#login = new Login(options, algorithms);
    this.#settled = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#settled.catch(() => undefined);
  }

  get isJudged(): boolean {
    return this.#login.isJudged;
  }

  async run(portal: Portal): Promise<IscsiSession | Portal> {
    const { times } = this.#options;
    const { host, port } = portal;
    this.#connection = await PduConnection.open(host, port, times.connectMs, this);
    const timer = setTimeout(() => {
      this.#reject(new PenstockError('DEVICE_LOST', 'the target did not answer the login in time'));
    }, times.loginMs);
    let isOpen = false;
    try {
      this.#sendStep(this.#login.first());
      const outcome = await this.#settled;
      isOpen = outcome instanceof IscsiSession;
      return outcome;
    } finally {
      clearTimeout(timer);
      if (!isOpen) this.#connection.destroy();
    }
  }

  heard(): void {
    // The whole login has one limit.
  }

  ended(error: PenstockError): void {
    this.#reject(
      new PenstockError(error.code, `during the login: ${error.message}`, { cause: error }),
    );
  }

  begin(pdu: TargetPdu): undefined {
    if (pdu.kind !== 'login') {
      throw new PenstockError(
        'DEVICE_PROTOCOL',
        'the target answered the login with something else',
      );
    }
  }

  take(pdu: TargetPdu, data: Buffer): void {
    const answer = pdu as LoginAnswer;
    this.#expStatSn = nextNumber(answer.statSn);
    this.#tsih = answer.tsih;
    if (this.#text.length + data.length > LIMITS.iscsiTextBytesMax) {
      throw new PenstockError('DEVICE_PROTOCOL', 'the target sent too much text in a login');
    }
    this.#text = Buffer.concat([this.#text, data]);
    const { stage, nextStage } = answer;
    if (answer.continues) return this.#sendStep({ stage, nextStage, transit: false, pairs: [] });
    const text = this.#text;
    this.#text = Buffer.alloc(0);
    try {
      this.#act(answer, text);
    } catch (thrown) {
      this.#reject(toPenstockError(thrown));
    }
  }

  #act(answer: LoginAnswer, text: Buffer): void {
    const outcome = this.#login.answer(answer, decodeText(text));
    if (outcome.kind === 'send') return this.#sendStep(outcome.step);
    if (outcome.kind === 'done') return this.#resolve(this.#toSession(answer, outcome.parameters));
    const portal = parsePortal(outcome.address);
    if (portal === undefined) {
      throw new PenstockError(
        'DEVICE_PROTOCOL',
        'the target sends us to something that is no address',
      );
    }
    this.#resolve(portal);
  }

  #sendStep({ stage, nextStage, transit, pairs }: LoginStep): void {
    const connection = this.#connection as PduConnection;
    const body = encodeText(pairs);
    const header = connection.newHeader();
    // A login is immediate: the number is that of the first command after it.
    const numbers = { task: 0, cmdSn: 1, expStatSn: this.#expStatSn };
    const { isid } = this.#options;
    const fields = { isid, tsih: this.#tsih, stage, nextStage, transit, continues: false };
    writeLogin(header, { ...numbers, ...fields, bytes: body.length });
    connection.send(header, body);
  }

  #toSession(answer: LoginAnswer, parameters: SessionParameters): IscsiSession {
    const connection = this.#connection as PduConnection;
    const { clock, times } = this.#options;
    const session = new IscsiSession(connection, {
      parameters,
      cmdSn: 1,
      expStatSn: this.#expStatSn,
      maxCmdSn: answer.maxCmdSn,
      clock,
      times,
    });
    connection.configure(
      parameters.headerDigest,
      parameters.dataDigest,
      parameters.receiveBytesMax,
    );
    connection.handOver(session);
    return session;
  }
}
