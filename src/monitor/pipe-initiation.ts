/**
 * What another machine asks for when it begins a pipe here, checked field by field.
 *
 * Contract: pure; nothing has been started when it throws PIPE_CONFIG (or NET_DENIED, of a module).
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  type FarStage,
  type Initiation,
  type OnwardPart,
  PIPE_VERSION,
} from '../channel/net/control-channel.ts';
import { FRAME_WORDS } from '../channel/net/frame.ts';
import type { Peer } from '../channel/net/peers.ts';
import type { StageSpec } from '../pipe/mod.ts';
import { farModule, type ModuleList } from './pipe-modules.ts';

/** The message as it must be. Its stages' modules are looked at by `farStages`. */
export function checkInitiation(message: unknown, name: string): Initiation {
  const asked = message as Partial<Initiation>;
  if (asked.type !== 'initiate') refuse('the first message must begin the pipe');
  if (asked.version !== PIPE_VERSION) {
    throw new PenstockError(
      'PIPE_CONFIG',
      `this machine speaks version ${PIPE_VERSION} of pipes between machines, the other ${String(asked.version).slice(0, 10)}`,
      { hint: 'use the same version of Penstock on both machines' },
    );
  }
  if (asked.name !== name) refuse('the name of the pipe is not that of the channel');
  if (asked.flow !== 'push' && asked.flow !== 'pull') refuse('the flow is neither push nor pull');
  text('program', asked.program, LIMITS.peerNameLengthMax);
  text('machine', asked.machine, 255);
  whole('agents', asked.agents, 1, LIMITS.pipeAgentsMax);
  whole('maxBuffers', asked.maxBuffers, 1, LIMITS.buffersMax);
  whole('payloadBytes', asked.payloadBytes, 1, LIMITS.blockRawBytesMax);
  whole('directoryBytes', asked.directoryBytes, 0, LIMITS.blockRawBytesMax);
  for (const field of ['headerBytesWord', 'directoryBytesWord'] as const) {
    if (asked[field] !== undefined) whole(field, asked[field], 0, FRAME_WORDS - 1);
  }
  if (asked.minBuffers !== undefined) whole('minBuffers', asked.minBuffers, 1, LIMITS.buffersMax);
  if (asked.device !== undefined) text('device', asked.device, LIMITS.peerNameLengthMax);
  if (asked.lostMs !== undefined) whole('lostMs', asked.lostMs, 1, 3_600_000);
  if (asked.bytesPerSecond !== undefined) {
    whole('bytesPerSecond', asked.bytesPerSecond, 1, Number.MAX_SAFE_INTEGER);
  }
  if (asked.shared !== undefined && !/^[0-9a-f]{32}$/.test(String(asked.shared))) {
    refuse('the name of shared connections is none');
  }
  stageList(asked.stages, asked.onward);
  let machines = 2;
  for (let part = asked.onward; part !== undefined; part = part.onward) {
    if (++machines > LIMITS.pipeMachinesMax) {
      refuse(`a pipe has ${LIMITS.pipeMachinesMax} machines at most`);
    }
    checkOnward(part);
  }
  return asked as Initiation;
}

/** Of the part of a third machine only what this one needs; that machine looks at the rest. */
function checkOnward(part: OnwardPart): void {
  if (typeof part !== 'object' || part === null) refuse('the next machine is an object');
  text('the name of the next machine', part.host, LIMITS.hostNameLengthMax);
  whole('the port of the next machine', part.port, 1, 65_535);
  stageList(part.stages, part.onward);
  for (const field of ['maxBuffers', 'minBuffers'] as const) {
    if (part[field] !== undefined) whole(field, part[field], 1, LIMITS.buffersMax);
  }
  if (part.device !== undefined) text('device', part.device, LIMITS.peerNameLengthMax);
}

function stageList(stages: unknown, onward: OnwardPart | undefined): void {
  const least = onward === undefined ? 1 : 0;
  if (!Array.isArray(stages) || stages.length < least || stages.length > LIMITS.farStagesMax) {
    refuse(`a half has ${least} to ${LIMITS.farStagesMax} stages`);
  }
}

/** Whether this machine lets the other one lead its pipes on to a third. NET_DENIED. */
export function checkMayReach(peer: Peer, address: string): void {
  if (peer.onward?.includes(address) === true) return;
  throw new PenstockError('NET_DENIED', `this machine lets ${peer.name} reach no other one`, {
    subject: address,
    hint: `pair with a token of \`penstock pair token --onward ${address}\``,
  });
}

/** Looks at the stages of the far half, without making anything of them. PIPE_CONFIG, NET_DENIED. */
export function checkFarStages(stages: readonly FarStage[], peer: Peer, list: ModuleList): void {
  for (const stage of stages) {
    if (typeof stage !== 'object' || stage === null) refuse('a stage is an object');
    const { name, modules, instances, partsMax, windowBytes, to } = stage;
    text('the name of a stage', name, 63);
    if (name === 'send' || name === 'receive') refuse(`stage ${name} is for agents`);
    if (!Array.isArray(modules) || modules.length < 1 || modules.length > LIMITS.farModulesMax) {
      refuse(`a stage has 1 to ${LIMITS.farModulesMax} modules`);
    }
    if (instances !== undefined) whole('instances', instances, 1, LIMITS.pipeAgentsMax);
    if (partsMax !== undefined) whole('partsMax', partsMax, 1, LIMITS.buffersMax);
    if (windowBytes !== undefined) {
      whole('windowBytes', windowBytes, 0, LIMITS.blockRawBytesMax * 4);
    }
    if (to !== undefined) {
      const targets: unknown[] = [to].flat();
      if (targets.length > LIMITS.farStagesMax) refuse('a stage sends to too many');
      for (const target of targets) text('the name of a stage', target, 63);
    }
    for (const module of modules) farModule(String(module?.name), list, peer);
  }
}

/** The stages of the far half with the modules of this machine. NET_DENIED, PIPE_CONFIG. */
export function farStages(stages: readonly FarStage[], peer: Peer, list: ModuleList): StageSpec[] {
  return stages.map(
    ({ name, modules, instances, allocates, ordered, partsMax, windowBytes, startWhen, to }) => ({
      name,
      keepsThreads: modules.every(
        (module) => farModule(String(module.name), list, peer).keepsThread === true,
      ),
      modules: modules.map((module) => {
        const allowed = farModule(String(module.name), list, peer);
        return { module: allowed.url, options: allowed.options(module.options, peer) };
      }),
      ...(instances === undefined ? {} : { instances }),
      ...(partsMax === undefined ? {} : { partsMax }),
      ...(windowBytes === undefined ? {} : { windowBytes }),
      ...(startWhen === 'first-buffer' ? { startWhen } : {}),
      ...(to === undefined ? {} : { to }),
      allocates: allocates === true,
      ordered: ordered === true,
    }),
  );
}

function whole(what: string, value: unknown, least: number, most: number): void {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    refuse(`${what} is no whole number from ${least} to ${most}`);
  }
}

function text(what: string, value: unknown, lengthMax: number): void {
  if (typeof value !== 'string' || value.length > lengthMax || /\p{C}/u.test(value)) {
    refuse(`${what} is no text of up to ${lengthMax} characters`);
  }
}

function refuse(message: string): never {
  throw new PenstockError('PIPE_CONFIG', message);
}
