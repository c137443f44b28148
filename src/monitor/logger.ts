/**
 * Log lines of the daemon, as JSON or for people.
 *
 * Contract: one line an event, never with secrets, control characters escaped, so that nobody who
 * connects can forge a line or steer a terminal.
 */
import type { Clock } from '../host/mod.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFormat = 'json' | 'text';
type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Logger {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

export interface LogSettings {
  readonly format: LogFormat;
  /** Debug lines too. */
  readonly verbose?: boolean;
  readonly clock: Pick<Clock, 'nowMs'>;
  write(line: string): void;
}

/** A logger that hands each line, without its end, to `settings.write`. */
export function openLogger(settings: LogSettings): Logger {
  const log =
    (level: LogLevel) =>
    (message: string, fields: Fields = {}): void => {
      if (level === 'debug' && settings.verbose !== true) return;
      const time = new Date(settings.clock.nowMs()).toISOString();
      settings.write(
        settings.format === 'json'
          ? JSON.stringify({ time, level, message, ...fields })
          : textLine(time, level, message, fields),
      );
    };
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}

function textLine(time: string, level: LogLevel, message: string, fields: Fields): string {
  const shown = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? quoted(value) : value}`);
  return `${time} ${level.padEnd(5)} ${escaped(message)}${shown.join('')}`;
}

function quoted(text: string): string {
  return /^[\w.:/@[\]*-]+$/.test(text) ? text : escaped(JSON.stringify(text));
}

function escaped(text: string): string {
  return text.replace(/\p{C}/gu, (character) => {
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
  });
}
