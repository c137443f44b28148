/**
 * Sizes, durations and times as users write them, and as they are shown.
 */
import { PenstockError } from './errors.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
  P: 1024 ** 5,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
};

/** Bytes from `4096`, `64K`, `2G`, `1.5MiB`, `10MB` (K, M, G are binary; KB, MB, GB decimal). */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?(?:i?b)?)$/i.exec(text.trim());
  const unit = match?.[2]?.toUpperCase().replace('IB', '');
  const factor = unit === undefined ? undefined : SIZE_UNITS[unit];
  if (match === null || factor === undefined) {
    throw new PenstockError('USAGE', `not a size: ${text}`, {
      hint: 'write for example 512K, 64M, 2G',
    });
  }
  return Math.round(Number(match[1]) * factor);
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
  d: 86400e3,
  w: 7 * 86400e3,
  y: 365 * 86400e3,
};

/** Milliseconds from `90s`, `15m`, `2h30m`, `7d`, `1y`. */
export function parseDuration(text: string): number {
  const trimmed = text.trim();
  if (!/^(\d+(?:\.\d+)?(ms|s|m|h|d|w|y))+$/.test(trimmed)) {
    throw new PenstockError('USAGE', `not a duration: ${text}`, {
      hint: 'write for example 30s, 15m, 2h30m, 7d',
    });
  }
  let total = 0;
  for (const part of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)/g)) {
    total += Number(part[1]) * (DURATION_UNITS[part[2] ?? ''] ?? 0);
  }
  return total;
}

/** Milliseconds since 1970 from an ISO date or time, or a duration before `nowMs`. */
export function parseTime(text: string, nowMs: number): number {
  const trimmed = text.trim();
  if (/^\d{4}-\d{2}-\d{2}/.test(trimmed)) {
    const time = Date.parse(trimmed);
    if (!Number.isNaN(time)) return time;
  } else if (/^[\d.]+[a-z]/.test(trimmed)) return nowMs - parseDuration(trimmed);
  throw new PenstockError('USAGE', `not a time: ${text}`, {
    hint: 'write for example 2026-11-21, 2026-11-21T10:00:00Z, or an age such as 7d',
  });
}

/** `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** `0.4 s`, `12 s`, `3:05`, `2:10:07`. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, '0');
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`;
}

/** `78,600`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ',');
}
