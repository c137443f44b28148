/**
 * Reads TypeScript as the test of the tree needs it: which text is code, which is a literal, and
 * which files a file refers to.
 *
 * Contract: `code` has the length and the lines of the text; comments and what stands in strings,
 * templates and regular expressions are blanks in it, so that a search in it finds code only. This
 * is no parser: a slash after a value is a division, any other begins a regular expression.
 */

export interface Literal {
  /** Where its opening quote stands. */
  readonly at: number;
  /** What stands between the quotes; of a template, up to its first `${`. */
  readonly text: string;
}

export interface SourceText {
  readonly code: string;
  readonly literals: readonly Literal[];
}

/** Tells code from comments and literals. */
export function readSource(text: string): SourceText {
  return new Scanner(text).scan();
}

/** The literals that name modules: of `import`, `export … from` and `import()`. */
export function importedNames({ code, literals }: SourceText): string[] {
  return literals
    .filter(({ at }) => /(?:\bfrom|\bimport)\s*\(?\s*$/.test(code.slice(Math.max(0, at - 40), at)))
    .map(({ text }) => text);
}

/** The line of a place in a text, from 1. */
export function lineOf(text: string, at: number): number {
  return text.slice(0, at).split('\n').length;
}

/** After these words a slash begins a regular expression. */
const BEFORE_VALUE = /(?:^|[([{,;:=!&|?+\-*%<>~^]|\b(?:return|typeof|case|in|of|await|yield))\s*$/;

class Scanner {
  readonly #text: string;
  readonly #literals: Literal[] = [];
  #code = '';
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  scan(): SourceText {
    this.#scanCode('');
    return { code: this.#code, literals: this.#literals };
  }

  /** Up to the end, or up to the brace that closes a template's `${`. */
  #scanCode(end: '' | '}'): void {
    let depth = 0;
    while (this.#at < this.#text.length) {
      const character = this.#text.charAt(this.#at);
      const pair = character + this.#text.charAt(this.#at + 1);
      if (end === '}' && character === '}' && depth === 0) return;
      if (pair === '//') this.#blankTo(this.#find('\n', this.#at));
      else if (pair === '/*') this.#blankTo(this.#find('*/', this.#at + 2) + 2);
      else if (character === "'" || character === '"') this.#scanString(character);
      else if (character === '`') this.#scanTemplate();
      else if (character === '/' && BEFORE_VALUE.test(this.#code.slice(-40))) this.#scanPattern();
      else {
        if (character === '{') depth++;
        else if (character === '}') depth--;
        this.#keep();
      }
    }
  }

  #scanString(quote: string): void {
    const start = this.#at;
    this.#keep();
    const close = this.#findUnescaped(quote);
    this.#literals.push({ at: start, text: this.#text.slice(start + 1, close) });
    this.#blankTo(close);
    this.#keep();
  }

  #scanTemplate(): void {
    const start = this.#at;
    let first: string | undefined;
    this.#keep();
    while (this.#at < this.#text.length) {
      const close = this.#findUnescaped('`');
      const hole = this.#findUnescaped('${');
      const next = Math.min(close, hole);
      first ??= this.#text.slice(start + 1, next);
      this.#blankTo(next);
      this.#keep();
      if (next === close) break;
      this.#keep();
      this.#scanCode('}');
      this.#keep();
    }
    this.#literals.push({ at: start, text: first ?? '' });
  }

  #scanPattern(): void {
    let inClass = false;
    this.#keep();
    let at = this.#at;
    for (; at < this.#text.length; at++) {
      const character = this.#text.charAt(at);
      if (character === '\\') at++;
      else if (character === '[') inClass = true;
      else if (character === ']') inClass = false;
      else if (character === '/' && !inClass) break;
    }
    this.#blankTo(at);
    this.#keep();
  }

  #keep(): void {
    this.#code += this.#text.charAt(this.#at);
    this.#at++;
  }

  #blankTo(end: number): void {
    this.#code += this.#text.slice(this.#at, end).replaceAll(/[^\n]/g, ' ');
    this.#at = end;
  }

  #find(what: string, from: number): number {
    const at = this.#text.indexOf(what, from);
    return at === -1 ? this.#text.length : at;
  }

  /** From here on, not behind a backslash. */
  #findUnescaped(what: string): number {
    for (let at = this.#at; at < this.#text.length; at++) {
      if (this.#text.charAt(at) === '\\') at++;
      else if (this.#text.startsWith(what, at)) return at;
    }
    return this.#text.length;
  }
}
