/** The works: what is measured, by name, and on whom. */

import type { Role } from "./children.ts";
import type { Demand } from "./load.ts";
import type { Task } from "./measure.ts";
import type { Setting } from "./place.ts";

/** The figure by which targets of a work are compared. */
export type Key = "cpuUs" | "cpuMsPerMb" | "p99Us" | "rssMib" | "requestsPerSecond";

/** One way to set this proxy up. */
export interface Variant {
  readonly label: string;
  readonly setting: Setting;
  /** Left out of a quick run. */
  readonly isSlow?: boolean;
}

/** One work. */
export interface Work {
  readonly name: string;
  readonly about: string;
  readonly task: Task;
  readonly key: Key;
  /** How every target of it is set up. */
  readonly setting: Setting;
  /** This proxy set up in several ways, beside itself: the others are compared with the first. Left out: every proxy, one way. */
  readonly variants?: readonly Variant[];
  /** Which Node libraries take part when nobody says so: all, or only the one that was cheapest in `main`. */
  readonly peers: "all" | "best";
  /** Also the upstream without any proxy. */
  readonly hasDirect: boolean;
  readonly inQuick: boolean;
  readonly role: Role;
}

const KIB = 1024;

function demand(changes: Partial<Demand>): Demand {
  return { connections: 64, path: "/1k", bodyBytes: 0, secure: false, ...changes };
}

function work(name: string, about: string, changes: Partial<Omit<Work, "name" | "about">>): Work {
  return {
    name,
    about,
    task: { kind: "saturate", demand: demand({}) },
    key: "cpuUs",
    setting: {},
    peers: "best",
    hasDirect: false,
    inQuick: false,
    role: "proxy",
    ...changes,
  };
}

const saturated = (changes: Partial<Demand>): Task => ({ kind: "saturate", demand: demand(changes) });

/** Everything that can be measured, `main` first: what it finds out about the Node libraries serves the others. */
export const WORKS: readonly Work[] = [
  work("main", "1 KiB answers to GET, 64 connections", {
    peers: "all",
    hasDirect: true,
    inQuick: true,
  }),
  work("one", "1 KiB answers to GET, 1 connection", { task: saturated({ connections: 1 }) }),
  work("post-1k", "POST of 1 KiB, 64 connections", { task: saturated({ bodyBytes: KIB }) }),
  work("post-16k", "POST of 16 KiB, 64 connections", { task: saturated({ bodyBytes: 16 * KIB }) }),
  work("body-64k", "64 KiB answers, 64 connections", {
    task: saturated({ path: "/64k" }),
    key: "cpuMsPerMb",
    peers: "all",
    inQuick: true,
  }),
  work("body-1m", "1 MiB answers, 16 connections", {
    task: saturated({ path: "/1m", connections: 16 }),
    key: "cpuMsPerMb",
    peers: "all",
    inQuick: true,
  }),
  work("upload-1m", "uploads of 1 MiB, 16 connections; nginx without request buffering", {
    task: saturated({ bodyBytes: KIB * KIB, connections: 16 }),
    setting: { passesBodies: true },
    key: "cpuMsPerMb",
    peers: "all",
    inQuick: true,
  }),
  work("busy", "1 KiB answers to GET, 1,000 connections", {
    task: saturated({ connections: 1000 }),
    peers: "all",
    inQuick: true,
  }),
  work("idle", "memory with 10,000 idle connections, after some load", {
    task: { kind: "hold", demand: demand({}), count: 10_000 },
    setting: { clients: 12_000 },
    key: "rssMib",
    peers: "all",
    inQuick: true,
  }),
  work("tails", "1 KiB answers to GET at 3,000 requests a second, 64 connections", {
    task: { kind: "pace", demand: demand({}), rate: 3000 },
    key: "p99Us",
    peers: "all",
    hasDirect: true,
    inQuick: true,
  }),
  work("workers", "1 and 2 workers on two cores", {
    key: "requestsPerSecond",
    role: "wide",
    inQuick: true,
    variants: [
      { label: "1 worker", setting: { workers: 1 } },
      { label: "2 workers", setting: { workers: 2 } },
    ],
  }),
  work("routes", "1, 100 and 10,000 routes, by host and by path; requests hit one in the middle", {
    inQuick: true,
    variants: [
      { label: "1 route", setting: { routes: { count: 1, by: "host" } } },
      { label: "100 routes", setting: { routes: { count: 100, by: "host" } }, isSlow: true },
      { label: "10000 routes", setting: { routes: { count: 10_000, by: "host" } } },
      { label: "10000 paths", setting: { routes: { count: 10_000, by: "path" } }, isSlow: true },
    ],
  }),
  work("weights", "the canary's weight at 0, 50 and 100 %", {
    variants: [
      { label: "weight 0 %", setting: { weight: 0 } },
      { label: "weight 50 %", setting: { weight: 50 } },
      { label: "weight 100 %", setting: { weight: 100 } },
    ],
  }),
  work("tls", "1 KiB answers to GET over TLS, 64 connections that stay open", {
    task: saturated({ secure: true }),
    setting: { secure: true },
  }),
  work("lanes", "the fast lane and the general lane", {
    inQuick: true,
    variants: [
      { label: "auto", setting: {} },
      { label: "general", setting: { lane: "general" } },
    ],
  }),
  work("traces", "traces and access log: off, and each at 1 %", {
    variants: [
      { label: "off", setting: {} },
      { label: "traces 1 %", setting: { told: "traces" } },
      { label: "log 1 %", setting: { told: "log" } },
    ],
  }),
  work("bypass", "with and without split, measuring and judging", {
    inQuick: true,
    variants: [
      { label: "bypassed", setting: { bypass: true } },
      { label: "complete", setting: {} },
    ],
  }),
];
