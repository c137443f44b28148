/**
 * The windows of a restore: what is planned is gathered in one, handed to the pipe when it is full, and
 * finished when its files are there: further links first, then directories, children before parents.
 *
 * At most two windows are out while one is being planned; their memory is used again.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { EntryView } from '../format/entry.ts';
import { RestoreWindow, WindowBuilder } from '../modules/restore-window.ts';
import type { FurtherLink } from './restore-slots.ts';
import type { TargetDirectory } from './restore-target.ts';

const WINDOW_FILES = 8192;
const WINDOW_BYTES = 16 * 1024 * 1024;
const WINDOWS_KEPT = 3;
/** Directories that a window may hold open, and handles kept for other things. */
const DIRECTORIES_MAX = 2048;
const DIRECTORIES_MIN = 8;
const HANDLES_SPARE = 128;

export interface WindowEvents {
  /** Hands a window to the pipe. */
  send(window: SharedArrayBuffer): Promise<void>;
  link(link: FurtherLink): void;
  leave(directory: TargetDirectory): void;
}

/** What is done once a window's files are complete. */
interface Closing {
  readonly number: number;
  readonly links: FurtherLink[];
  readonly directories: TargetDirectory[];
  /** Directories of the files by their numbers, and the window itself: for messages. */
  readonly parents: TargetDirectory[];
  window: RestoreWindow | undefined;
  finished: boolean;
  readonly done: PromiseWithResolvers<void>;
}

export class RestoreWindows {
  /** The window that is being planned. */
  readonly builder: WindowBuilder = new WindowBuilder();
  readonly #events: WindowEvents;
  readonly #directoriesMax: number;
  readonly #memory: SharedArrayBuffer[] = [];
  readonly #closings = new Map<number, Closing>();
  readonly #view = new EntryView();
  #count = 0;
  #closing: Closing;

  /** `handles`: how many may be open for directories. */
  constructor(handles: number, events: WindowEvents) {
    this.#events = events;
    const most = Math.floor((handles - HANDLES_SPARE) / WINDOWS_KEPT);
    this.#directoriesMax = Math.max(DIRECTORIES_MIN, Math.min(DIRECTORIES_MAX, most));
    this.#closing = this.#newClosing();
  }

  /** Whether the window should end; `open`: directories that are open beside those of the window. */
  isFull(open: number): boolean {
    return (
      this.builder.files >= WINDOW_FILES ||
      this.builder.bytes >= WINDOW_BYTES ||
      this.#closing.directories.length + open >= this.#directoriesMax
    );
  }
  /** A file that is one blob. Returns its number. */
  addFile(parent: TargetDirectory, entry: EntryView): number {
    this.#closing.parents.push(parent);
    return this.builder.addFile(parent.fd, entry.bytes, entry.at, entry.entryBytes);
  }
  link(link: FurtherLink): void {
    this.#closing.links.push(link);
  }
  leave(directory: TargetDirectory): void {
    this.#closing.directories.push(directory);
  }

  /** Hands the window to the pipe, and waits for the one before. */
  async end(): Promise<void> {
    const closing = this.#closing;
    this.#closings.set(closing.number, closing);
    this.#count++;
    this.#closing = this.#newClosing();
    if (this.builder.blocks > 0) {
      const place = closing.number % WINDOWS_KEPT;
      const shared = this.builder.build(closing.number, this.#memory[place]);
      this.#memory[place] = shared;
      closing.window = new RestoreWindow(shared);
      this.builder.reset();
      await this.#events.send(shared);
    } else closing.done.resolve();
    const before = this.#closings.get(closing.number - 1);
    if (before !== undefined) await this.#finish(before);
  }
  /** Ends the last window and waits for all. */
  async finish(): Promise<void> {
    await this.end();
    for (const closing of [...this.#closings.values()]) await this.#finish(closing);
  }
  /** All blocks of a window have been dealt with. */
  isDone(number: number): void {
    this.#closings.get(number)?.done.resolve();
  }

  async #finish(closing: Closing): Promise<void> {
    await closing.done.promise;
    if (closing.finished) return;
    closing.finished = true;
    // Kept a little longer: messages of other threads about its files may still be on their way.
    this.#closings.delete(closing.number - 1);
    for (const link of closing.links) this.#events.link(link);
    for (const directory of closing.directories) this.#events.leave(directory);
  }

  /** A window that is out, and the directories of its files by their numbers. */
  outstanding(number: number): {
    readonly window: RestoreWindow;
    readonly parents: readonly TargetDirectory[];
  } {
    const { window, parents } = must(this.#closings.get(number), 'a window that is out');
    return { window: must(window, 'a window that was sent'), parents };
  }

  /** Path of a file of a window. */
  pathOf(number: number, file: number): ByteString {
    const closing = this.#closings.get(number);
    const parent = closing?.parents[file];
    const window = closing?.window;
    if (parent === undefined || window === undefined) return '';
    const { name } = this.#view.set(window.bytes, window.entryAt(file));
    return parent.path === '' ? name : `${parent.path}/${name}`;
  }

  #newClosing(): Closing {
    return {
      number: this.#count,
      links: [],
      directories: [],
      parents: [],
      window: undefined,
      finished: false,
      done: Promise.withResolvers(),
    };
  }
}
