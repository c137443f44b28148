/**
 * What a program and the process that runs its pipe say to each other on the control connection
 * (attach-port.ts): lines of JSON.
 */

/** What a program says first. */
export interface ProgramIdent {
  readonly type: 'ident';
  readonly version: number;
  readonly pipe: string;
  readonly role: 'head' | 'tail';
  readonly processId: number;
  /** Where the pipe has several such ends. */
  readonly stage?: string;
}

/** What it is answered. */
export interface ProgramAttached {
  readonly type: 'attached';
  readonly stage: string;
  readonly token: string;
  /** What kind of program began the pipe, and on which machine. */
  readonly program: string;
  readonly machine: string;
}

export const ATTACH_VERSION = 1;
