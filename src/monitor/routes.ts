/**
 * All routes of the monitor: one line for each set (context.ts says how to write one).
 */
import type { MonitorRoutes } from './context.ts';
import { copyRoutes } from './copy-routes.ts';
import { metricsRoutes } from './metrics-routes.ts';
import { pairRoutes } from './pair-routes.ts';
import { peerRoutes } from './peer-routes.ts';
import { pipeRoutes } from './pipe-routes.ts';
import { repositoryRoutes } from './repository-routes.ts';
import { statusRoutes } from './status-routes.ts';

export const ROUTES: readonly MonitorRoutes[] = [
  statusRoutes,
  metricsRoutes,
  pairRoutes,
  peerRoutes,
  repositoryRoutes,
  pipeRoutes,
  copyRoutes,
];
