/**
 * What the monitor measures of itself: requests, connections, its process.
 *
 * Contract: labels are routes and methods as they were registered, never what a client sent, so that
 * their number is bounded.
 */
import { Counter, Gauge, Histogram } from 'prom-client';
import type { MonitorContext, MonitorServer } from './context.ts';

const SECONDS_BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];

/** Measures every request to `server`, and what `context` knows at the time of asking. */
export function measure(server: MonitorServer, context: MonitorContext): void {
  const registers = [context.metrics];
  const requests = new Counter({
    name: 'penstock_requests_total',
    help: 'Requests that were answered.',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const seconds = new Histogram({
    name: 'penstock_request_seconds',
    help: 'Time from the head of a request to the end of its answer.',
    labelNames: ['method', 'route'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  server.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none';
    const method = route === 'none' ? 'any' : request.method;
    requests.inc({ method, route, status: reply.statusCode });
    seconds.observe({ method, route }, reply.elapsedTime / 1000);
    done();
  });
  measureProcess(context);
}

function measureProcess(context: MonitorContext): void {
  const registers = [context.metrics];
  new Gauge({
    name: 'penstock_info',
    help: 'The version of Penstock.',
    labelNames: ['version'],
    registers,
  }).set({ version: context.version }, 1);
  new Gauge({
    name: 'penstock_connections',
    help: 'Open connections, of paired machines and of others.',
    labelNames: ['of'],
    registers,
    collect() {
      const { peers, strangers } = context.connections;
      this.set({ of: 'peers' }, peers);
      this.set({ of: 'strangers' }, strangers);
    },
  });
  new Gauge({
    name: 'penstock_connections_refused',
    help: 'Connections that were turned away or had to give way since the start.',
    registers,
    collect() {
      this.set(context.connections.refused);
    },
  });
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'process_cpu_seconds_total',
    help: 'Processor time of user and system.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.set((user + system) / 1e6);
    },
  });
}
