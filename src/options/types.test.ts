/**
 * Goal: the types of values follow from the table. Method: types that only compile if they do.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ByteString } from '../base/bytes.ts';
import { COMMANDS, GLOBAL_OPTIONS, type OptionValues, type PositionalValues } from './table.ts';

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_equal: Equal<A, B>): void => {};

test('values have the types that the table says', () => {
  same<OptionValues<'restore'>['overwrite'], 'never' | 'always' | 'newer'>(true);
  same<OptionValues<'restore'>['target'], ByteString>(true);
  same<OptionValues<'backup'>['exclude'], readonly ByteString[]>(true);
  same<OptionValues<'backup'>['threads'], number | undefined>(true);
  same<OptionValues<'prune'>['maxUnusedPercent'], number>(true);
  same<OptionValues<'ls'>['json'], boolean>(true);
  same<
    PositionalValues<'restore'>,
    { readonly archive: string; readonly paths: readonly string[] }
  >(true);
  same<PositionalValues<'completion'>['shell'], 'bash' | 'zsh' | 'fish'>(true);
});

test('the table keeps its own rules', () => {
  for (const [name, command] of Object.entries(COMMANDS)) {
    const flags = new Set<string>();
    for (const option of Object.values({ ...GLOBAL_OPTIONS, ...command.options })) {
      const row: { flag: string; short?: string; kind: string; value?: string } = option;
      for (const written of [row.flag, row.short ?? `no short of ${row.flag}`]) {
        assert(!flags.has(written), `${name}: ${written} stands twice`);
        flags.add(written);
      }
      const named = row.kind === 'flag' || row.kind === 'choice' || row.value !== undefined;
      assert(named, `${name}: --${row.flag} needs a name for its value`);
    }
    assert(command.examples.length > 0, `${name} needs an example`);
    assert(!/[A-Z]|\.$/.test(command.summary[0] ?? '.') && !command.summary.endsWith('.'), name);
    const positionals = Object.values(command.positionals) as { many?: true; required?: true }[];
    for (const [index, positional] of positionals.slice(0, -1).entries()) {
      assert(
        positional.many !== true && positional.required === true,
        `${name}: positional ${index}`,
      );
    }
  }
});
