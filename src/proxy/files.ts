/**
 * How many client connections the process has files for (reliability.md 28). One that is out of files accepts and drops connections in a loop, and cannot
 * write its state; so the limit of connections stays below what the system allows it to open. Pure but for the log.
 */

import type { Config } from "../config/schema.ts";
import type { Log } from "../engine/ports.ts";

/** Client connections above the limit that still get a readable answer; beyond them they are dropped. */
export const ANSWERED_ABOVE = 128;
/** Files for everything else: state, journal, listeners, threads. */
const RESERVE_FILES = 64;

/** What was found. */
export interface Fit {
  /** Client connections that there may be: as configured, or as many as fit. */
  readonly connections: number;
  /** Connections to upstreams that there may be. */
  readonly upstream: number;
}

/**
 * What fits into so many files. Where the upstreams' share would take more than half, it is taken for half: it can be configured far beyond
 * what is ever open, since nearly every upstream connection in use is for a client's.
 */
export function fitInto(files: number, { limits, routes }: Config): Fit {
  let upstream = 0;
  for (const { stable, canary } of routes)
    for (const { endpoints, connections } of [stable, canary]) upstream += endpoints.length * connections;
  const free = files - RESERVE_FILES - ANSWERED_ABOVE;
  const fitting = Math.max(1, free - upstream, Math.floor(free / 2));
  return { connections: Math.min(limits.connections, fitting), upstream };
}

/** The configuration with no more client connections than there are files for. @param files left out: enough */
export function withinFiles(config: Config, files: number | undefined, log: Log): Config {
  const configured = config.limits.connections;
  const { connections, upstream } = fitInto(files ?? Infinity, config);
  if (connections >= configured) return config;
  log.warn("fewer client connections than limits.connections: the process may not open enough files", {
    connections,
    configured,
    upstream,
    files,
  });
  return { ...config, limits: { ...config.limits, connections } };
}
