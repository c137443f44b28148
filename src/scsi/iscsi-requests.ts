/**
 * What a session asks besides commands: a sign of life, a reset, questions in text.
 *
 * Contract: each has the session's time limits; answers are bounded.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  NO_TAG,
  TASK_MANAGEMENT,
  writeNopOut,
  writeTaskManagement,
  writeText,
} from './iscsi-pdu.ts';
import type { IscsiSession } from './iscsi-session.ts';
import { decodeText, encodeText, type TextPairs } from './iscsi-text.ts';

/** Asks for a sign of life. */
export async function pingTarget(session: IscsiSession): Promise<void> {
  await session.request(session.times.silenceMs, (task) => {
    session.send(writeNopOut, { task, targetTag: NO_TAG, bytes: 0 });
  });
}

/** Makes the device forget everything that it does and keeps, for whomever. */
export async function resetUnit(session: IscsiSession, lun: number): Promise<void> {
  const { pdu } = await session.request(session.times.endMs, (task) => {
    session.send(writeTaskManagement, {
      task,
      lun,
      function: TASK_MANAGEMENT.logicalUnitReset,
      referencedTask: NO_TAG,
      referencedCmdSn: 0,
    });
  });
  const answer = pdu.kind === 'task-management' ? pdu.response : -1;
  if (answer !== 0) {
    throw new PenstockError('DEVICE_ERROR', `the target did not reset the device (${answer})`);
  }
}

/** One question in text, and its whole answer. */
export async function askText(session: IscsiSession, question: TextPairs): Promise<TextPairs> {
  const parts: Buffer[] = [];
  let bytes = 0;
  let targetTag = NO_TAG;
  for (let round = 0; ; round++) {
    const body = round === 0 ? encodeText(question) : Buffer.alloc(0);
    const { pdu, data } = await session.request(session.times.loginMs, (task) => {
      session.send(writeText, { task, targetTag, bytes: body.length }, body);
    });
    if (pdu.kind !== 'text') throw confused('another answer than that to a question');
    bytes += data.length;
    if (bytes > LIMITS.iscsiTextBytesMax || round > LIMITS.iscsiLoginRoundsMax) {
      throw confused('an answer without end');
    }
    parts.push(data);
    if (pdu.final && !pdu.continues) return decodeText(Buffer.concat(parts));
    targetTag = pdu.targetTag;
  }
}

function confused(what: string): PenstockError {
  return new PenstockError('DEVICE_PROTOCOL', `the target sent ${what}`);
}
