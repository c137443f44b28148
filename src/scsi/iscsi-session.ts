/**
 * A session of one connection in its full feature phase (RFC 7143; error recovery level 0).
 *
 *   state     may be sent                   until
 *   open      commands, pings, text         the target asks for the end, or `logout`, or something breaks
 *   closing   nothing new                   what runs has ended
 *   over      nothing
 *
 * Contract: whatever breaks it ends it: the connection is closed, every command that runs fails with
 * DEVICE_LOST (or what the target did wrong), and `failure` says why. A command that takes too long is taken
 * back from the target (ABORT TASK) before it fails with DEVICE_TIMEOUT; where that does not work either, the
 * session ends. A target that is silent while something is expected of it is asked for a sign of life, and
 * given up without one: so a tape may wind for hours and a dead target is known in a minute.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Clock } from '../host/mod.ts';
import type { ConnectionEvents, PduConnection } from './iscsi-connection.ts';
import type { SessionParameters } from './iscsi-keys.ts';
import {
  ASYNC_EVENT,
  isBefore,
  LOGOUT_REASON,
  NO_TAG,
  nextNumber,
  TASK_MANAGEMENT,
  type TargetPdu,
  writeCommand,
  writeDataOut,
  writeLogout,
  writeNopOut,
  writeTaskManagement,
} from './iscsi-pdu.ts';
import { type DataPiece, IscsiTask } from './iscsi-task.ts';
import type { IscsiTimes } from './iscsi-times.ts';
import type { ScsiCommand, ScsiResult } from './scsi-device.ts';

export interface SessionStart {
  readonly parameters: SessionParameters;
  readonly cmdSn: number;
  readonly expStatSn: number;
  readonly maxCmdSn: number;
  readonly clock: Clock;
  readonly times: IscsiTimes;
}

type Pdu<Kind extends TargetPdu['kind']> = Extract<TargetPdu, { kind: Kind }>;

/** A request that is not a command: ping, task management, text, logout. */
interface Errand {
  readonly deadlineMs: number;
  readonly settle: (pdu: TargetPdu, data: Buffer) => void;
  readonly reject: (error: PenstockError) => void;
}

interface Waiting {
  readonly command: ScsiCommand;
  readonly lun: number;
  readonly deadlineMs: number;
  readonly settle: IscsiTask['settle'];
}

const DONE = 0;
const NO_SUCH_TASK = 1;

export class IscsiSession implements ConnectionEvents {
  readonly parameters: SessionParameters;
  readonly times: IscsiTimes;
  readonly #connection: PduConnection;
  readonly #clock: Clock;
  readonly #tasks = new Map<number, IscsiTask>();
  readonly #errands = new Map<number, Errand>();
  /** Commands for which the target has no room yet. */
  readonly #waiting: Waiting[] = [];
  #cmdSn: number;
  #expStatSn: number;
  #maxCmdSn: number;
  #nextTag = 1;
  #heardMs: number;
  #isPinging = false;
  #isClosing = false;
  #failure: PenstockError | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(connection: PduConnection, start: SessionStart) {
    this.#connection = connection;
    this.parameters = start.parameters;
    this.#clock = start.clock;
    this.times = start.times;
    this.#cmdSn = start.cmdSn;
    this.#expStatSn = start.expStatSn;
    this.#maxCmdSn = start.maxCmdSn;
    this.#heardMs = start.clock.monotonicMs();
  }

  /** Why it takes no more commands; undefined while it does. */
  get failure(): PenstockError | undefined {
    if (this.#failure !== undefined || !this.#isClosing) return this.#failure;
    return new PenstockError('DEVICE_LOST', 'the target has asked for the end of the session');
  }

  execute(lun: number, command: ScsiCommand): Promise<ScsiResult> {
    return new Promise((resolve, reject) => {
      const failure = this.failure;
      if (failure !== undefined) return reject(lostDuring(command, failure));
      const deadlineMs = this.#clock.monotonicMs() + command.timeoutMs;
      this.#waiting.push({ command, lun, deadlineMs, settle: { resolve, reject } });
      this.#begin();
      this.#sendWaiting();
    });
  }

  /**
   * Sends a request that is no command, and returns the answer.
   *
   * @param send is given the request's tag
   */
  request(
    timeoutMs: number,
    send: (tag: number) => void,
  ): Promise<{ pdu: TargetPdu; data: Buffer }> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      const tag = this.#newTag();
      const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
      const settle = (pdu: TargetPdu, data: Buffer): void => {
        resolve({ pdu, data: Buffer.from(data) });
      };
      this.#errands.set(tag, { deadlineMs, settle, reject });
      this.#begin();
      send(tag);
    });
  }

  /** Ends the session in order, if that is still possible; never throws. */
  async logout(): Promise<void> {
    this.#isClosing = true;
    if (this.#failure === undefined) {
      const reason = LOGOUT_REASON.closeSession;
      const ended = this.request(this.times.endMs, (task) => {
        this.send(writeLogout, { task, reason });
      });
      await ended.catch(() => undefined);
    }
    this.#fail(new PenstockError('DEVICE_LOST', 'the session was closed'));
  }

  // What the connection tells.

  heard(): void {
    this.#heardMs = this.#clock.monotonicMs();
    this.#isPinging = false;
  }

  ended(error: PenstockError): void {
    this.#fail(error);
  }

  begin(pdu: TargetPdu): Uint8Array | undefined {
    if (pdu.kind !== 'data-in' || pdu.dataBytes === 0) return undefined;
    const task = this.#taskOf(pdu.task);
    return task.isAborting ? undefined : task.placeFor(pdu);
  }

  take(pdu: TargetPdu, data: Buffer): void {
    this.#takeNumbers(pdu);
    switch (pdu.kind) {
      case 'data-in':
        if (pdu.hasStatus) this.#finish(pdu.task, pdu.status, pdu.residual);
        break;
      case 'response':
        this.#takeResponse(pdu, data);
        break;
      case 'ready-to-transfer':
        this.#takeReady(pdu);
        break;
      case 'nop-in':
        if (pdu.targetTag !== NO_TAG) this.#answerPing(pdu, data);
        if (pdu.task !== NO_TAG) this.#settleErrand(pdu.task, pdu, data);
        break;
      case 'asynchronous':
        this.#takeEvent(pdu);
        break;
      case 'reject':
        this.#takeReject(pdu, data);
        break;
      default:
        this.#settleErrand(pdu.task, pdu, data);
    }
    this.#sendWaiting();
  }

  /** Status numbers come one after the other; a gap is an answer that was lost. */
  #takeNumbers(pdu: TargetPdu): void {
    if (isBefore(this.#maxCmdSn, pdu.maxCmdSn)) this.#maxCmdSn = pdu.maxCmdSn;
    const isNumbered =
      pdu.kind === 'data-in'
        ? pdu.hasStatus
        : pdu.kind !== 'ready-to-transfer' && !(pdu.kind === 'nop-in' && pdu.task === NO_TAG);
    if (!isNumbered) return;
    if (pdu.statSn !== this.#expStatSn) {
      throw confused(`answer ${pdu.statSn} instead of ${this.#expStatSn}`);
    }
    this.#expStatSn = nextNumber(this.#expStatSn);
  }

  #takeResponse(pdu: Pdu<'response'>, data: Buffer): void {
    const task = this.#taskOf(pdu.task);
    if (pdu.response !== DONE) {
      this.#tasks.delete(task.tag);
      const text = `${task.command.name}: the target failed (response ${pdu.response})`;
      task.settle.reject(new PenstockError('DEVICE_ERROR', text));
      return;
    }
    task.takeSense(data);
    this.#finish(pdu.task, pdu.status, pdu.residual);
  }

  #finish(tag: number, status: number, residual: number): void {
    const task = this.#taskOf(tag);
    if (task.isAborting) return;
    const result = task.finish(status, residual);
    this.#tasks.delete(tag);
    task.settle.resolve(result);
  }

  #takeReady(pdu: Pdu<'ready-to-transfer'>): void {
    const task = this.#taskOf(pdu.task);
    if (!task.isAborting) this.#sendData(task, task.solicited(pdu, this.parameters));
  }

  #taskOf(tag: number): IscsiTask {
    const task = this.#tasks.get(tag);
    if (task === undefined) throw confused(`an answer to command ${tag}, which does not run`);
    return task;
  }

  #answerPing(pdu: Pdu<'nop-in'>, data: Buffer): void {
    if (this.#connection.unsentBytes > LIMITS.iscsiUnsentBytesMax) {
      throw confused('pings without reading the answers');
    }
    const { lun, targetTag } = pdu;
    const body = Buffer.from(data.subarray(0, this.parameters.sendBytesMax));
    const fields = { task: NO_TAG, lun, targetTag, bytes: body.length };
    this.send(writeNopOut, fields, body);
  }

  #takeEvent(pdu: Pdu<'asynchronous'>): void {
    switch (pdu.event) {
      case ASYNC_EVENT.logoutRequested:
      case ASYNC_EVENT.negotiationRequested:
        this.#isClosing = true;
        this.#begin();
        break;
      case ASYNC_EVENT.connectionDropped:
      case ASYNC_EVENT.sessionDropped:
        this.#fail(new PenstockError('DEVICE_LOST', 'the target drops the session'));
        break;
      default:
      // What a device has to say is told again with the next command.
    }
  }

  /** A ping may be refused; anything else that is cannot be gone on from. */
  #takeReject(pdu: Pdu<'reject'>, data: Buffer): void {
    const tag = data.length >= 20 ? data.readUInt32BE(16) : NO_TAG;
    if (this.#errands.has(tag)) {
      const reason = `the target rejects a request (reason ${pdu.reason})`;
      this.#errands.get(tag)?.reject(new PenstockError('DEVICE_ERROR', reason));
      this.#errands.delete(tag);
      return;
    }
    const name = this.#tasks.get(tag)?.command.name ?? 'something';
    throw new PenstockError('DEVICE_PROTOCOL', `the target rejects ${name} (reason ${pdu.reason})`);
  }

  // Sending.

  /** Sends a PDU with the session's numbers; `write` is one of iscsi-pdu.ts. */
  send<Fields>(
    write: (into: Buffer, fields: Fields) => void,
    fields: Omit<Fields, 'cmdSn' | 'expStatSn'>,
    data?: Uint8Array,
  ): void {
    const header = this.#connection.newHeader();
    const numbers = { cmdSn: this.#cmdSn, expStatSn: this.#expStatSn };
    write(header, { ...numbers, ...fields } as Fields);
    this.#connection.send(header, data);
  }

  #sendWaiting(): void {
    while (!isBefore(this.#maxCmdSn, this.#cmdSn)) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const { command, lun, deadlineMs, settle } = next;
      const task = new IscsiTask(this.#newTag(), this.#cmdSn, lun, command, deadlineMs, settle);
      this.#tasks.set(task.tag, task);
      this.#sendCommand(task);
      this.#cmdSn = nextNumber(this.#cmdSn);
    }
  }

  #sendCommand(task: IscsiTask): void {
    const { command, lun } = task;
    const { immediateBytes, final } = task.begin(this.parameters);
    this.#connection.cork();
    const fields = {
      task: task.tag,
      lun,
      cdb: command.cdb,
      reads: command.dataIn !== undefined,
      writes: command.dataOut !== undefined,
      expectedBytes: task.expectedBytes,
      immediateBytes,
      final,
    };
    this.send(writeCommand, fields, task.dataOf({ offset: 0, bytes: immediateBytes }));
    this.#sendData(task, task.unsolicited(this.parameters));
    this.#connection.uncork();
  }

  #sendData(task: IscsiTask, pieces: readonly DataPiece[]): void {
    this.#connection.cork();
    for (const piece of pieces) {
      this.send(writeDataOut, { task: task.tag, lun: task.lun, ...piece }, task.dataOf(piece));
    }
    this.#connection.uncork();
  }

  #newTag(): number {
    const tag = this.#nextTag;
    this.#nextTag = nextNumber(tag) === NO_TAG ? 1 : nextNumber(tag);
    return tag;
  }

  #settleErrand(tag: number, pdu: TargetPdu, data: Buffer): void {
    const errand = this.#errands.get(tag);
    // The answer to a ping that nobody waits for any more has no meaning.
    if (errand === undefined && pdu.kind === 'nop-in') return;
    if (errand === undefined) throw confused(`an answer to request ${tag}, which was not made`);
    this.#errands.delete(tag);
    errand.settle(pdu, data);
  }

  // Time.

  #begin(): void {
    if (this.#timer !== undefined || this.#failure !== undefined) return;
    if (this.#tasks.size === 0 && this.#errands.size === 0) this.heard();
    this.#timer = setInterval(() => this.#tick(), this.times.tickMs);
  }

  #tick(): void {
    const now = this.#clock.monotonicMs();
    const isIdle = this.#tasks.size + this.#errands.size + this.#waiting.length === 0;
    if (isIdle) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      if (this.#isClosing) this.logout().catch(() => undefined);
      return;
    }
    const silentMs = now - this.#heardMs;
    if (silentMs > this.times.silenceMs) {
      const seconds = Math.round(silentMs / 1000);
      this.#fail(new PenstockError('DEVICE_LOST', `nothing was heard for ${seconds} seconds`));
      return;
    }
    if (silentMs > this.times.pingMs && !this.#isPinging) {
      this.#isPinging = true;
      // Its answer is a sign of life like any other; that none comes is noticed above.
      this.send(writeNopOut, { task: this.#newTag(), targetTag: NO_TAG, bytes: 0 });
    }
    this.#endLate(now);
  }

  #endLate(now: number): void {
    for (const [tag, errand] of [...this.#errands]) {
      if (now < errand.deadlineMs) continue;
      this.#errands.delete(tag);
      errand.reject(new PenstockError('DEVICE_TIMEOUT', 'the target did not answer in time'));
    }
    while (this.#waiting[0] !== undefined && now >= this.#waiting[0].deadlineMs) {
      const { command, settle } = this.#waiting.shift() as Waiting;
      const text = `${command.name}: the target had no room for the command in time`;
      settle.reject(new PenstockError('DEVICE_TIMEOUT', text));
    }
    for (const task of this.#tasks.values()) {
      if (now < task.deadlineMs || task.isAborting) continue;
      task.isAborting = true;
      this.#abort(task).catch(() => undefined);
    }
  }

  async #abort(task: IscsiTask): Promise<void> {
    const { tag, cmdSn, lun, command } = task;
    let answer = -1;
    try {
      const { pdu } = await this.request(this.times.endMs, (errand) => {
        this.send(writeTaskManagement, {
          task: errand,
          lun,
          function: TASK_MANAGEMENT.abortTask,
          referencedTask: tag,
          referencedCmdSn: cmdSn,
        });
      });
      if (pdu.kind === 'task-management') answer = pdu.response;
    } catch {
      // The session is over, or will be now.
    }
    const seconds = Math.round(command.timeoutMs / 1000);
    const error = new PenstockError(
      'DEVICE_TIMEOUT',
      `${command.name}: not done after ${seconds} seconds`,
    );
    if (this.#tasks.delete(tag)) task.settle.reject(error);
    if (answer !== DONE && answer !== NO_SUCH_TASK) this.#fail(error);
  }

  #fail(error: PenstockError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#connection.destroy();
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const { command, settle } of this.#waiting.splice(0)) {
      settle.reject(lostDuring(command, error));
    }
    for (const { command, settle } of this.#tasks.values()) {
      settle.reject(lostDuring(command, error));
    }
    this.#tasks.clear();
    for (const { reject } of this.#errands.values()) reject(error);
    this.#errands.clear();
  }
}

function lostDuring(command: ScsiCommand, cause: PenstockError): PenstockError {
  const code = cause.code === 'DEVICE_PROTOCOL' ? 'DEVICE_PROTOCOL' : 'DEVICE_LOST';
  return new PenstockError(code, `${command.name}: ${cause.message}`, { cause });
}

function confused(what: string): PenstockError {
  return new PenstockError('DEVICE_PROTOCOL', `the target sent ${what}`);
}
