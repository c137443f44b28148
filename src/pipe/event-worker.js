// Entry of a thread with an event loop (a repository's net thread, a drive's). Tiny, and plain JavaScript,
// so that the compile cache is on before anything is compiled, as in worker.js.
import { enableCompileCache } from 'node:module';
import { workerData } from 'node:worker_threads';

const { thread, cacheFolder } = workerData;
// Without a folder Node.js would take a shared one, where another user could put code for us to run.
if (cacheFolder !== undefined) enableCompileCache(cacheFolder);
await import(thread);
