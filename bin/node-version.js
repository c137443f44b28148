/**
 * Finds a Node.js that can run Penstock, for the launcher and the scripts of package.json.
 *
 * Contract: written so that Node.js 12.17 can parse it (no `node:` prefix, no `??`, no top-level
 * await). `ensureNode` says whether the running Node is new enough. If it is older it starts the one
 * that is pinned beside the package with the same arguments, terminal and exit status, and where
 * there is none it says what is wrong and what to do, and the exit status becomes 1.
 */
import { spawn } from 'child_process';
import fs from 'fs';
import path from 'path';
import { fileURLToPath } from 'url';

/** The folder of the package. */
export const packageFolder = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** package.json, which holds the version and says which Node.js is needed. */
export const manifest = JSON.parse(
  fs.readFileSync(path.join(packageFolder, 'package.json'), 'utf8'),
);

const needed = manifest.engines.node.replace(/^>=\s*/, '');

/**
 * True if the running Node.js can run Penstock. False if it cannot: then it is taken care of, and
 * the caller has nothing more to do.
 * @param {string} script the file to run with the other Node.js
 * @param {string[]} args
 */
export function ensureNode(script, args) {
  if (isNewEnough(process.versions.node)) return true;
  const pinned = findPinnedNode();
  // The variable is set for the child below: a pinned Node.js that is too old must not start itself.
  if (pinned.file !== undefined && process.env.PENSTOCK_LAUNCHER === undefined) {
    runInstead(pinned.file, script, args);
  } else refuse(pinned);
  return false;
}

function isNewEnough(version) {
  const have = version.split('.').map(Number);
  const need = needed.split('.').map(Number);
  return have[0] > need[0] || (have[0] === need[0] && have[1] >= (need[1] || 0));
}

/** The npm package `node` beside this package or beside one that it is installed in. */
function findPinnedNode() {
  let unfinished;
  for (let folder = packageFolder; ; folder = path.dirname(folder)) {
    const installed = path.join(folder, 'node_modules', 'node');
    const file = path.join(installed, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    if (fs.existsSync(file)) return { file };
    if (unfinished === undefined && fs.existsSync(installed)) unfinished = folder;
    if (folder === path.dirname(folder)) return { unfinished };
  }
}

function runInstead(file, script, args) {
  const child = spawn(file, [script].concat(args), {
    stdio: 'inherit',
    env: Object.assign({}, process.env, { PENSTOCK_LAUNCHER: '1' }),
  });
  const handlers = new Map();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    const handler = () => {
      if (!comesFromTerminal(signal)) child.kill(signal);
    };
    handlers.set(signal, handler);
    process.on(signal, handler);
  }
  child.on('error', (error) => {
    process.stderr.write(`penstock: cannot start ${file}: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (status, signal) => {
    for (const [name, handler] of handlers) process.removeListener(name, handler);
    if (signal === null) process.exitCode = status;
    else process.kill(process.pid, signal);
  });
}

/**
 * Ctrl-C reaches every process of the terminal's foreground group, the child too: passed on, it
 * would arrive twice, and a second one means "at once".
 */
function comesFromTerminal(signal) {
  return signal === 'SIGINT' && [0, 1, 2].some((descriptor) => isTerminal(descriptor));
}

function isTerminal(descriptor) {
  const stream = [process.stdin, process.stdout, process.stderr][descriptor];
  return stream.isTTY === true;
}

function refuse(pinned) {
  const lines = [
    `penstock: Node.js ${process.versions.node} (${process.execPath}) is too old: ${needed} or newer is needed`,
    'there are two ways out:',
    `  1. ${wayToPin(pinned)}`,
    `  2. install Node.js ${needed} or newer for the whole system, and run the command again with it`,
  ];
  process.stderr.write(`${lines.join('\n')}\n`);
  process.exitCode = 1;
}

function wayToPin(pinned) {
  if (pinned.file !== undefined) return `the one in ${pinned.file} is too old as well: update it`;
  if (pinned.unfinished !== undefined) {
    return `the package \`node\` lies in ${pinned.unfinished}, but its install script did not run (ignore-scripts?);
     run there: npm rebuild node --ignore-scripts=false`;
  }
  if (fs.existsSync(path.join(packageFolder, 'package-lock.json'))) {
    return `run in ${packageFolder}: npm ci
     (it brings the right Node.js along, inside that folder only)`;
  }
  return `install one beside Penstock: npm install node@${needed.split('.')[0]}`;
}
