/**
 * GET /metrics: for Prometheus.
 */
import type { MonitorContext, MonitorServer } from './context.ts';

const SCHEMA = {
  summary: 'metrics in the text format of Prometheus',
  response: {
    200: { description: 'metrics', content: { 'text/plain': { schema: { type: 'string' } } } },
  },
} as const;

export function metricsRoutes(server: MonitorServer, context: MonitorContext): void {
  const { metrics } = context;
  server.get('/metrics', { schema: SCHEMA }, async (request, reply) => {
    // They name repositories and pipes, whoever they belong to.
    context.requireAccess(request, '*', 'read');
    return reply.type(metrics.contentType).send(await metrics.metrics());
  });
}
