/**
 * Private memory of the instances that have some, for whoever builds their pipes: apart from them, so that
 * the initiator does not load what only their threads run.
 */
import { LIMITS } from '../base/limits.ts';

/** Of `collect`: gear table, then the window that large files are read into. */
export const COLLECT_WINDOW_BYTES: number = 4096 + 4 * LIMITS.cutBytesMax;

/** Of `seal`, for the compressed form. */
export const sealWindowBytes = (blockRawBytes: number): number => blockRawBytes;

/** Of `restore`: the content of one block. */
export const restoreWindowBytes = (blockRawBytes: number): number => blockRawBytes;
