#!/usr/bin/env node
/**
 * The launcher: checks Node's version, then starts src/cli/main.ts, or dist/cli-main.js in a package.
 *
 * Contract: parses on Node.js 12.17 and later, like node-version.js. `--version` alone is answered
 * here, without loading anything else and on any Node. It adds nothing to the command line's output,
 * drops warnings of the one kind ExperimentalWarning, and works where the cache folder cannot be written.
 */
import fs from 'fs';
import module from 'module';
import os from 'os';
import path from 'path';
import { fileURLToPath, pathToFileURL } from 'url';
import { ensureNode, manifest, packageFolder } from './node-version.js';

const args = process.argv.slice(2);

if (args.length === 1 && (args[0] === '--version' || args[0] === '-V')) {
  process.stdout.write(`${manifest.name} ${manifest.version}\n`);
} else if (ensureNode(fileURLToPath(import.meta.url), args)) start();

function start() {
  dropExperimentalWarnings();
  setEngineFlags();
  enableCompileCache();
  const entry = findEntry();
  import(pathToFileURL(entry).href).catch((error) => {
    process.stderr.write(`penstock: cannot start: ${explain(error, entry)}\n`);
    process.exitCode = 1;
  });
}

/** Node.js strips no types under node_modules: an installed package runs what was built. */
function findEntry() {
  const source = path.join(packageFolder, 'src', 'cli', 'main.ts');
  const compiled = path.join(packageFolder, 'dist', 'cli-main.js');
  const installed = packageFolder.split(path.sep).includes('node_modules');
  return !installed && fs.existsSync(source) ? source : compiled;
}

/** What users can do nothing about, such as SQLite's being called experimental by Node.js 24. */
function dropExperimentalWarnings() {
  const emitWarning = process.emitWarning;
  process.emitWarning = function (warning, ...rest) {
    const kind = rest[0] !== null && typeof rest[0] === 'object' ? rest[0].type : rest[0];
    if (kind === 'ExperimentalWarning' || warning.name === 'ExperimentalWarning') return;
    Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
}

/**
 * Settings of V8 for this process and its threads: the space for young objects is small, and is not cleaned by several
 * threads.
 *
 * Compiled code, Node's own too, is kept with most settings it was compiled under, and is compiled again under others:
 * that takes each thread milliseconds. This one is not among them.
 */
function setEngineFlags() {
  const v8 = process.getBuiltinModule('v8');
  v8.setFlagsFromString('--no-parallel-scavenge');
}

/**
 * Keeps compiled code in the user's own cache folder, not in the shared temporary one, where another
 * user could put code for us to run. Without a place to write there is no cache.
 */
function enableCompileCache() {
  if (process.env.NODE_COMPILE_CACHE !== undefined) return;
  const home = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  let folder = home;
  try {
    // One by one: `mkdir -p` of Node.js 26 never returns where the root is a /proc.
    for (const next of ['', 'penstock', 'compiled']) {
      folder = path.join(folder, next);
      if (!fs.existsSync(folder)) fs.mkdirSync(folder, 0o700);
    }
  } catch (_) {
    return;
  }
  module.enableCompileCache(folder);
}

function explain(error, entry) {
  if (error.code !== 'ERR_MODULE_NOT_FOUND') return error.stack;
  if (!fs.existsSync(entry)) return `${entry} is missing: install the package again`;
  return `${error.message.split('\n')[0]}\nrun in ${packageFolder}: npm ci`;
}
