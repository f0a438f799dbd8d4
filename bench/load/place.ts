/** What every compared proxy is described by: where it stands, what is asked of it, and how it is started. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Where a proxy is to stand. */
export interface Place {
  /** An empty folder for its files. */
  readonly folder: string;
  /** Port to listen on, on 127.0.0.1. */
  readonly port: number;
  /** A second free port, for its admin interface. */
  readonly adminPort: number;
  readonly upstreamPort: number;
  /** Self-signed, for TLS on the client side; undefined where the work has none. */
  readonly certificate: Certificate | undefined;
}

/** Paths of PEM files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  /** Both in one file. */
  readonly both: string;
}

/** How a proxy is set up for one target of a work. What is left out is as in the main work. */
export interface Setting {
  /** Client connections that it must be able to hold. */
  readonly clients?: number;
  /** nginx: request bodies pass while they come, instead of being collected first. */
  readonly passesBodies?: boolean;
  readonly secure?: boolean;
  // This proxy only:
  readonly workers?: number;
  readonly lane?: "general";
  /** The canary's share in percent; 50 when left out. */
  readonly weight?: 0 | 50 | 100;
  /** So many routes, told apart by host or by path; the one in the middle gets the requests. */
  readonly routes?: { readonly count: number; readonly by: "host" | "path" };
  /** What one exchange in a hundred is told to: a collector, for which the upstream stands in, or the access log. */
  readonly told?: "traces" | "log";
  /** Without split, measuring and judging. */
  readonly bypass?: boolean;
}

/** What is to be run, in the foreground. */
export interface Command {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One proxy to compare. */
export interface Proxy {
  readonly name: string;
  /** `self`, `native` (another runtime) or `node` (a Node library in a process of its own). */
  readonly kind: "self" | "native" | "node";
  /** Writes what it needs and says how to run it. */
  command(place: Place, setting: Setting): Command;
  /** Run once when it answers; throws when the proxy did not do as told. */
  prepare?(place: Place, setting: Setting): void;
  /** Name of the program it needs; without it on the machine the proxy is skipped by name. */
  readonly needs?: string;
}

/** Writes `text` beside the proxy's other files and returns its path. */
export function written(place: Place, name: string, text: string): string {
  const path = join(place.folder, name);
  writeFileSync(path, text);
  return path;
}

/** The place's certificate. Throws where there is none: a work with TLS has one. */
export function certificateOf(place: Place): Certificate {
  if (place.certificate === undefined) throw new Error("no certificate for a work with TLS");
  return place.certificate;
}
