/**
 * Where this machine keeps its own things, and where the default repository is.
 *
 * Contract: --state or PENSTOCK_STATE, else XDG_STATE_HOME/penstock, else ~/.local/state/penstock;
 * the repository XDG_DATA_HOME/penstock/repo, else ~/.local/share/penstock/repo. XDG variables with
 * relative paths are ignored, as their specification asks. Nothing is made before it is needed.
 */
import { homedir } from 'node:os';
import { type ByteString, fromText } from '../base/bytes.ts';

/** Reads a variable of the environment as bytes. */
type ReadVariable = (name: string) => ByteString | undefined;

/** The state folder where --state does not name one. */
export function defaultStateDirectory(variable: ReadVariable): ByteString {
  return `${base(variable, 'XDG_STATE_HOME', '.local/state')}/penstock`;
}

/** The state folder of this user: PENSTOCK_STATE, or the default. Not made by this. */
export function userStateDirectory(): string {
  const variable = (name: string): ByteString | undefined => {
    const value = process.env[name];
    return value === undefined ? undefined : fromText(value);
  };
  const given = process.env.PENSTOCK_STATE;
  return given || Buffer.from(defaultStateDirectory(variable), 'latin1').toString('utf8');
}

/** The repository where --repo does not name one. */
export function defaultRepoUrl(variable: ReadVariable): ByteString {
  return `${base(variable, 'XDG_DATA_HOME', '.local/share')}/penstock/repo`;
}

function base(variable: ReadVariable, name: string, below: string): ByteString {
  const value = variable(name);
  if (value?.startsWith('/')) return value.replace(/\/+$/, '');
  const home = variable('HOME');
  const folder = home?.startsWith('/') ? home : fromText(homedir());
  return `${folder.replace(/\/+$/, '')}/${below}`;
}
