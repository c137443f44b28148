/**
 * Runs a file of the tree, `node scripts/node.js FILE ARGUMENT…`, with a Node.js that can: npm's
 * scripts find the pinned one first, and where it is missing this says so instead of a syntax error.
 * Parses on Node.js 12.17 and later, like bin/node-version.js.
 */
import path from 'path';
import { fileURLToPath, pathToFileURL } from 'url';
import { ensureNode } from '../bin/node-version.js';

if (ensureNode(fileURLToPath(import.meta.url), process.argv.slice(2))) {
  const [node, , file, ...rest] = process.argv;
  const script = path.resolve(file);
  process.argv = [node, script, ...rest];
  // A failure is left to Node.js, which shows it and ends with status 1.
  void import(pathToFileURL(script).href);
}
