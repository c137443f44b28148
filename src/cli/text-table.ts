/**
 * Lays out rows in columns.
 *
 * Contract: pure; cells are printable text. The last column is not padded, so that lines do not end
 * in spaces.
 */
import { pad, textColumns } from './width.ts';

export interface Column {
  readonly title: string;
  /** Aligned to the right, as numbers are. */
  readonly right?: boolean;
}

/** The title line and one line for each row. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string[] {
  const titles = columns.map(({ title }) => title.toUpperCase());
  const widths = titles.map((title) => textColumns(title));
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, textColumns(cell));
    }
  }
  const last = columns.length - 1;
  const layout = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => {
        const right = columns[index]?.right === true;
        return index === last && !right ? cell : pad(cell, widths[index] ?? 0, right);
      })
      .join('  ')
      .trimEnd();
  return [titles, ...rows].map(layout);
}
