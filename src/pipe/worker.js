// Entry of an instance's thread. Tiny, and plain JavaScript, so that the compile cache is on before
// anything is compiled: a warm start then takes a third of the time. The modules are loaded while the
// plan is on its way; one that cannot be loaded is reported when the plan has come.
import { enableCompileCache } from 'node:module';
import { workerData } from 'node:worker_threads';

const { runner, cacheFolder, modules, port } = workerData;
// Without a folder Node.js would take a shared one, where another user could put code for us to run.
if (cacheFolder !== undefined) enableCompileCache(cacheFolder);
let planned = new Promise((resolve) => {
  port.once('message', (plan) => {
    port.close();
    resolve(plan);
  });
});
const { runInstance, nextPlan } = await import(runner);
for (const url of modules) await import(url).catch(() => undefined);
// Nothing here holds a plan, and with it the memory of its pipe.
while (await planned.then(runInstance)) planned = nextPlan();
