/**
 * Protocols with one rule taken out, made from the real ones by falsifying what they see or do at
 * the store: the model must find a violation for each that safety or progress needs.
 */
import type {
  CondemnedChunk,
  Kind,
  Listed,
  Operation,
  Records,
} from '../../src/mover/protocol-store.ts';
import type { Mistakes, Mood } from './prune-actors.ts';
import { type ModelOperation, type Mutation, nameOf } from './prune-model.ts';
import type { Faults, Role } from './prune-schedule.ts';

/** What becomes of an operation: done as it is, or answered without the store. */
type Reaction = { readonly answer: unknown } | undefined;

/** Answers some operations falsely; `passed` has the names of those that went before. */
function answering(
  react: (operation: Operation, passed: ReadonlySet<string>) => Reaction,
): Mutation {
  return function* mutated(steps) {
    const passed = new Set<string>();
    let next = steps.next();
    while (!next.done) {
      const operation = next.value;
      const reaction = react(operation, passed);
      const result = reaction === undefined ? yield operation : reaction.answer;
      passed.add(nameOf(operation));
      next = steps.next(result);
    }
    return next.value;
  };
}

/** Does a listing too early: at the moment of `at`, its result is what the real one gets. */
function listingEarly(kind: Kind, at: string, after: string): Mutation {
  return function* mutated(steps) {
    const passed = new Set<string>();
    let early: unknown;
    let next = steps.next();
    while (!next.done) {
      const operation = next.value;
      const name = nameOf(operation);
      if (name === at && passed.has(after)) early = yield { op: 'list', kind };
      const isReal = name === `list ${kind}` && passed.has(after) && early !== undefined;
      const result: unknown = isReal ? early : yield operation;
      passed.add(name);
      next = steps.next(result);
    }
    return next.value;
  };
}

const isList = (operation: Operation, kind: Kind): boolean =>
  operation.op === 'list' && operation.kind === kind;

/** Session: every rule of commitSession. */
const skipPending: Mutation = function* skipPending(steps) {
  let record: Records['pending'] | undefined;
  let next = steps.next();
  while (!next.done) {
    const operation = next.value;
    let result: unknown = true;
    if (operation.op === 'put' && operation.kind === 'pending') {
      record = operation.record as Records['pending'];
    } else if (operation.op === 'publish' && record !== undefined) {
      result = yield { op: 'put', kind: 'archive', id: operation.id, record };
    } else result = yield operation;
    next = steps.next(result);
  }
  return next.value;
};

const publishAnyway: Mutation = function* publishAnyway(steps) {
  let record: Records['pending'] | undefined;
  let next = steps.next();
  while (!next.done) {
    const operation = next.value;
    if (operation.op === 'put' && operation.kind === 'pending') {
      record = operation.record as Records['pending'];
    }
    const isPublish = operation.op === 'publish' && record !== undefined;
    const result: unknown =
      isPublish && record !== undefined
        ? yield { op: 'put', kind: 'archive', id: operation.id, record }
        : yield operation;
    next = steps.next(result);
  }
  return next.value;
};

/** Answers listings of chunks with everything that this run of the steps has named. */
const ignoreMissing: Mutation = function* ignoreMissing(steps) {
  let named: readonly string[] = [];
  let next = steps.next();
  while (!next.done) {
    const operation = next.value;
    if (operation.op === 'put' && operation.kind === 'pending') {
      named = (operation.record as Records['pending']).chunks;
    }
    const real: unknown = yield operation;
    const result = isList(operation, 'chunk') ? named.map((id) => ({ id, stampMs: 0 })) : real;
    next = steps.next(result);
  }
  return next.value;
};

const ignoreDeleting = answering((operation, passed) =>
  isList(operation, 'deleting') && passed.has('put pending') ? { answer: [] } : undefined,
);

/** Prune: what findRemovable must look at, once D stands. */
const blindFor = (kind: Kind): Mutation =>
  answering((operation, passed) =>
    isList(operation, kind) && passed.has('put deleting') ? { answer: [] } : undefined,
  );

/** Takes chunks for present that are gone: what archives name, or what condemned chunks rely on. */
const taking = (what: 'named' | 'reliedOn'): Mutation =>
  function* mutated(steps) {
    const taken = new Set<string>();
    let decides = false;
    let next = steps.next();
    while (!next.done) {
      const operation = next.value;
      let result: unknown = yield operation;
      if (operation.op === 'put' && operation.kind === 'deleting') decides = true;
      if (operation.op === 'read' && result !== null) {
        const { chunks } = result as { chunks?: readonly (string | CondemnedChunk)[] };
        for (const chunk of chunks ?? []) {
          if (what === 'named' && typeof chunk === 'string') taken.add(chunk);
          if (what === 'reliedOn' && typeof chunk !== 'string')
            for (const id of chunk.relies) taken.add(id);
        }
      }
      if (decides && isList(operation, 'chunk')) {
        for (const { id } of result as readonly Listed[]) taken.add(id);
        result = [...taken].map((id) => ({ id, stampMs: 0 }));
      }
      next = steps.next(result);
    }
    return next.value;
  };

/** Each prune follows its own verdict, whatever stands in the store. */
export const ownVerdict: Mutation = function* ownVerdict(steps) {
  let own: unknown = null;
  let next = steps.next();
  while (!next.done) {
    const operation = next.value;
    if (operation.op === 'put' && operation.kind === 'verdict') own = operation.record;
    const isRead = operation.op === 'read' && operation.kind === 'verdict' && own !== null;
    const result: unknown = isRead ? own : yield operation;
    next = steps.next(result);
  }
  return next.value;
};

/** Takes a verdict for good without looking whether its condemn record still stands. */
const voidVerdict: Mutation = function* voidVerdict(steps) {
  let own: { readonly id: string; readonly condemn: unknown } | undefined;
  let verdict = false;
  let next = steps.next();
  while (!next.done) {
    const operation = next.value;
    const isCondemn = operation.op === 'read' && operation.kind === 'condemn';
    const isAgain = isCondemn && verdict && operation.id === own?.id;
    const result: unknown = isAgain ? own?.condemn : yield operation;
    if (isCondemn && own === undefined) own = { id: operation.id, condemn: result };
    if (operation.op === 'put' && operation.kind === 'verdict') verdict = true;
    next = steps.next(result);
  }
  return next.value;
};

/** Finishes in the wrong order: `first` kinds are removed before the others. */
const removeFirst = (kind: Kind): Mutation =>
  function* mutated(steps) {
    const held: ModelOperation[] = [];
    let next = steps.next();
    while (!next.done) {
      const operation = next.value;
      if (operation.op === 'remove' && operation.kind !== kind && operation.kind !== 'index') {
        held.push(operation);
        next = steps.next(undefined);
      } else next = steps.next(yield operation);
    }
    for (const operation of held) yield operation;
    return next.value;
  };

/** D is never put. */
const skipDeleting = answering((operation) =>
  operation.op === 'put' && operation.kind === 'deleting' ? { answer: true } : undefined,
);

const noLeaseWait = answering((operation, passed) =>
  isList(operation, 'lease') && passed.has('read verdict') ? { answer: [] } : undefined,
);

/** How the model notices that a rule is missing. */
export type Finder =
  | { readonly situation: string; readonly preemptions: number }
  | { readonly mood: Mood; readonly roles: readonly Role[] };

/** A rule taken out. */
export interface MutationCase {
  readonly rule: string;
  readonly faults: Faults;
  readonly found: Finder;
}

const beside = (preemptions: number): Finder => ({
  situation: 'a commit beside a deletion',
  preemptions,
});
const twoAtOne: Finder = {
  situation: 'two prunes at one condemn record beside a commit',
  preemptions: 2,
};
const mutual = (preemptions: number): Finder => ({
  situation: 'two prunes that rely on each other',
  preemptions,
});
const prunes: Finder = { mood: 'lying', roles: ['backup', 'prune', 'prune', 'prune'] };
const calm: Finder = { mood: 'calm', roles: ['backup', 'merge', 'backup', 'prune', 'merge'] };

const session = (rule: string, mutateSession: Mutation, found: Finder): MutationCase => ({
  rule: `session: ${rule}`,
  faults: { mutateSession },
  found,
});
const prune = (rule: string, mutatePrune: Mutation, found: Finder): MutationCase => ({
  rule: `prune: ${rule}`,
  faults: { mutatePrune },
  found,
});
const mistake = (rule: string, mistakes: Mistakes, found: Finder): MutationCase => ({
  rule,
  faults: { mistakes },
  found,
});

export const MUTATIONS: readonly MutationCase[] = [
  session('the pending record comes before the look', skipPending, beside(2)),
  session('publishing fails when the pending record is gone', publishAnyway, beside(2)),
  session('all chunks must exist, own ones too', ignoreMissing, beside(0)),
  session('deleting markers are heeded', ignoreDeleting, beside(1)),
  session(
    'chunks are listed after deleting markers',
    listingEarly('chunk', 'list deleting', 'put pending'),
    beside(2),
  ),
  mistake('session: entries without chunk are ignored', { trustsEntries: true }, calm),
  prune('older leases end first', noLeaseWait, calm),
  prune('D stands before the final listing', skipDeleting, beside(1)),
  prune('the final listing has pendings', blindFor('pending'), beside(2)),
  prune('the final listing has archives', blindFor('archive'), beside(0)),
  prune(
    'archives are listed after pendings',
    listingEarly('archive', 'list pending', 'put deleting'),
    beside(3),
  ),
  prune('other condemn records are heeded', blindFor('condemn'), mutual(1)),
  prune(
    'chunks are listed after condemn records',
    listingEarly('chunk', 'list condemn', 'put deleting'),
    mutual(2),
  ),
  prune('what is relied on must exist', taking('reliedOn'), mutual(0)),
  prune('what unknown archives name must exist', taking('named'), {
    situation: 'a prune with an old plan beside a relocation',
    preemptions: 0,
  }),
  prune('a verdict counts only while its record stands', voidVerdict, twoAtOne),
  prune('K goes before V', removeFirst('verdict'), twoAtOne),
  prune('D goes after the chunks', removeFirst('deleting'), beside(1)),
  prune('K goes after the chunks', removeFirst('condemn'), beside(1)),
  mistake('prune: rescued chunks keep their entries', { dropsRescued: true }, prunes),
  mistake('plan: what is still needed is relied on', { forgetsRelies: true }, prunes),
  mistake('plan: a copy has its entries first', { copiesWithoutIndex: true }, prunes),
];
