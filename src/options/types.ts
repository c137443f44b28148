/**
 * The shape of the table of commands and options, and the types of the values that come out of it.
 *
 * Contract: `table.ts` holds the data and nothing else; the parser, the environment names, help,
 * completion and the manual are all made from it. The type of every parsed value is derived from
 * the table too (`OptionValues`, `PositionalValues`), so that a command's code cannot name an
 * option that is not there. Sizes are bytes, durations and times milliseconds (times since 1970),
 * whatever names something in a file system is a ByteString.
 */
import type { ByteString } from '../base/bytes.ts';

/** How a value is written, and with it the type that it is parsed to. */
export type ValueKind =
  | 'flag' /** boolean, no value */
  | 'size' /** number, bytes */
  | 'duration' /** number, milliseconds */
  | 'time' /** number, milliseconds since 1970 */
  | 'count' /** number, whole, between min and max */
  | 'percent' /** number, 0 to 100 */
  | 'path' /** ByteString, a local path (completed by the shell) */
  | 'pattern' /** ByteString, a glob */
  | 'text' /** string */
  | 'choice'; /** one of `choices` */

interface ValueSpec {
  readonly kind: ValueKind;
  /** What the value is called in help: `SIZE`, `DIR`. Not for flags and choices. */
  readonly value?: string;
  readonly help: string;
  /** May be given several times; the value is an array, empty when not given. */
  readonly many?: true;
  readonly required?: true;
  readonly choices?: readonly string[];
  readonly min?: number;
  readonly max?: number;
}

export interface OptionSpec extends ValueSpec {
  /** The long name without dashes. */
  readonly flag: string;
  readonly short?: string;
  /** Written as a user would write it; parsed like any value. */
  readonly default?: string;
  /** The default in words, where code decides it. */
  readonly defaultHelp?: string;
  /** Taken from this variable when it is not on the command line. */
  readonly environment?: string;
  /** Flags of options that cannot be given together with this one. */
  readonly conflicts?: readonly string[];
}

export interface PositionalSpec extends ValueSpec {
  /** As shown in help: `PATH`, `ARCHIVE`. */
  readonly value: string;
}

export interface ExampleSpec {
  readonly line: string;
  readonly help: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;
export type PositionalSpecs = Readonly<Record<string, PositionalSpec>>;

export interface CommandSpec {
  /** One line, lower case, without a full stop. */
  readonly summary: string;
  /** Paragraphs of help. */
  readonly description: readonly string[];
  /** In their order; only the last may be `many` or left out. */
  readonly positionals: PositionalSpecs;
  readonly options: OptionSpecs;
  readonly examples: readonly ExampleSpec[];
  /** What exit status 3 means, where the command knows it. */
  readonly partial?: string;
  /** Keys of options or positionals of which at least one must be given. */
  readonly needsOneOf?: readonly string[];
}

/** The value of one occurrence. */
type OneValue<S extends ValueSpec> = S extends { kind: 'flag' }
  ? boolean
  : S extends { kind: 'size' | 'duration' | 'time' | 'count' | 'percent' }
    ? number
    : S extends { kind: 'path' | 'pattern' }
      ? ByteString
      : S extends { kind: 'choice'; choices: readonly (infer C)[] }
        ? C
        : string;

/** The value of an option or positional: an array, a value, or undefined where it was left out. */
export type ValueOf<S extends ValueSpec> = S extends { many: true }
  ? readonly OneValue<S>[]
  : S extends { kind: 'flag' } | { required: true } | { default: string }
    ? OneValue<S>
    : OneValue<S> | undefined;

export type ValuesOf<T extends Readonly<Record<string, ValueSpec>>> = {
  readonly [K in keyof T]: ValueOf<T[K]>;
};
