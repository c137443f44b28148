/**
 * The server's side of the memory of calls (call-memory.ts): a thread with an event loop that answers
 * what threads of pipes ask for.
 *
 * Contract: every call is answered, also when the answer is an error, which is cut to what a sink has room
 * for. While it runs it says so at each beat, also when nobody calls.
 */
import { type ErrorRecord, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CALL, type CallMemory } from './call-memory.ts';

/** An error as calls are answered with it. */
export function callErrorOf(error: unknown): ErrorRecord {
  const { code, message, hint } = toErrorRecord(error);
  return {
    code,
    message: message.slice(0, LIMITS.callMessageLengthMax),
    hint: hint.slice(0, LIMITS.callMessageLengthMax / 2),
  };
}

/**
 * Takes calls until the memory is ended (`end` and `ring`).
 *
 * @param answer what the call in a slot comes to: a number, of a write any
 */
export async function serveCalls(
  memory: CallMemory,
  answer: (slot: number, call: number) => Promise<number>,
): Promise<void> {
  const beat = setInterval(() => memory.addBeat(), LIMITS.netBeatMs / 4);
  try {
    while (!memory.isEnded) {
      const seen = memory.doorbell;
      for (const slot of memory.takeAll()) void serve(memory, slot, answer);
      // Read again once it is armed: a call that came between the two is not missed.
      await memory.ringing(seen);
    }
  } finally {
    clearInterval(beat);
  }
}

async function serve(
  memory: CallMemory,
  slot: number,
  answer: (slot: number, call: number) => Promise<number>,
): Promise<void> {
  const call = memory.call(slot);
  const isWrite = call === CALL.write;
  try {
    const result = await answer(slot, call);
    if (isWrite) memory.finishWrite(slot, undefined);
    else memory.finish(slot, result);
  } catch (error) {
    const record = JSON.stringify(callErrorOf(error));
    if (isWrite) memory.finishWrite(slot, record);
    else memory.finish(slot, record);
  }
}
