/**
 * PEM files: which ones a configuration names, what is read from them, and whether it can be used. The main thread reads and tries them; the threads
 * that carry traffic get texts, so that no thread has another certificate than its neighbours and none waits for a disk.
 *
 * Texts may be private keys: they are never put into a message. What is said about them is their path and what is wrong.
 */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { ArmConfig, Config } from "../config/schema.ts";
import { AppError, wordsOf, type ErrorCode } from "../domain/errors.ts";

/** Texts of PEM files by their path as configured. Never to be logged. */
export type Pems = ReadonlyMap<string, string>;

/** All that TLS needs beside the configuration, as it passes from thread to thread. Never to be logged. */
export interface TlsMaterial {
  readonly pems: Pems;
  /** 48 bytes by which session tickets are sealed; the same in every thread. */
  readonly tickets: Uint8Array;
}

/** Length of the key that seals session tickets. */
export const TICKET_BYTES = 48;

/** TLS of one listener, as configured. */
export type ListenTls = NonNullable<Config["listen"][number]["tls"]>;

/** Files that are used together, and so are taken over together or not at all. */
export interface PemGroup {
  /** For people, e.g. `the certificate of 127.0.0.1:8443`. */
  readonly what: string;
  readonly paths: readonly string[];
  /** What the start, or a reload, fails with when they cannot be used. */
  readonly code: ErrorCode;
  /** What is odd about usable ones, one sentence each. Throws when they cannot be used. @param wall milliseconds since the epoch */
  check(text: (path: string) => string, wall: number): readonly string[];
}

/** The files of a configuration's listeners. */
export function listenGroups(config: Config): readonly PemGroup[] {
  return config.listen.flatMap(({ address, tls }) => {
    if (tls === undefined) return [];
    const code = "SPLIT_LISTEN_FAILED";
    const groups = [tls, ...tls.sni].map(({ cert, key }): PemGroup => {
      const paths = [cert, key];
      const what = `the certificate of ${address}`;
      return { what, paths, code, check: (text, wall) => checkPair(cert, key, text, wall) };
    });
    const { clientCa } = tls;
    if (tls.clients === "off" || clientCa === undefined) return groups;
    const what = `the client authorities of ${address}`;
    groups.push({ what, paths: [clientCa], code, check: (text) => checkAuthorities(clientCa, text) });
    return groups;
  });
}

/** The files by which its upstreams are verified, and which are shown to them. */
export function armGroups(config: Config): readonly PemGroup[] {
  return config.routes.flatMap(({ name, stable, canary }) =>
    Object.entries({ stable, canary }).flatMap(([arm, { tls }]) => groupOfArm(name, arm, tls)),
  );
}

function groupOfArm(route: string, arm: string, tls: ArmConfig["tls"]): readonly PemGroup[] {
  const { ca, cert, key } = tls ?? {};
  const paths = [ca, cert, key].filter((path) => path !== undefined);
  if (paths.length === 0) return [];
  return [
    {
      what: `the TLS files of ${arm} of the route ${route}`,
      paths,
      code: "SPLIT_CONFIG_INVALID",
      check: (text, wall) => [
        ...(ca === undefined ? [] : checkAuthorities(ca, text)),
        ...(cert === undefined || key === undefined ? [] : checkPair(cert, key, text, wall)),
      ],
    },
  ];
}

/** What was read of some files: the text, or why there is none. */
export type Found = ReadonlyMap<string, string | Error>;

/** Reads files. Never rejects. */
export async function readPems(paths: Iterable<string>): Promise<Found> {
  const read = [...new Set(paths)].map(async (path): Promise<readonly [string, string | Error]> => {
    try {
      return [path, await readFile(path, "utf8")];
    } catch (error) {
      return [path, error instanceof Error ? error : new Error(String(error))];
    }
  });
  return new Map(await Promise.all(read));
}

/** What is odd about a group's files as found. Throws AppError when they cannot be used: its message names what they are for and the file. */
export function examine(group: PemGroup, found: Found | Pems, wall: number): readonly string[] {
  const textOf = (path: string): string => {
    const text = found.get(path);
    if (text === undefined) throw new Error(`${path}: it was not read`);
    // The platform's message names the path.
    if (text instanceof Error) throw text;
    return text;
  };
  try {
    return group.check(textOf, wall);
  } catch (error) {
    const why = wordsOf(error);
    throw new AppError(group.code, `cannot use ${group.what}: ${why}`, { cause: error });
  }
}

/** What one thread has of them: what is in force, and who wants to know when that changes. */
export class PemShelf {
  readonly #followers = new Set<() => void>();
  #material: TlsMaterial;

  /** @param material left out: nothing was read yet */
  constructor(material: TlsMaterial = { pems: new Map(), tickets: new Uint8Array(TICKET_BYTES) }) {
    this.#material = material;
  }

  get material(): TlsMaterial {
    return this.#material;
  }

  /** The text in force of a file that the configuration names. Throws RangeError when nobody has read it. */
  pem(path: string): string {
    const text = this.#material.pems.get(path);
    if (text === undefined) throw new RangeError(`the file ${path} was not read`);
    return text;
  }

  /** 48 bytes by which session tickets are sealed. */
  get tickets(): Buffer {
    return Buffer.from(this.#material.tickets);
  }

  /** Puts other texts in force, and tells everyone. */
  replace(material: TlsMaterial): void {
    this.#material = material;
    for (const run of this.#followers) run();
  }

  /** Calls `run` after each change until the returned function is called. */
  onChange(run: () => void): () => void {
    this.#followers.add(run);
    return () => void this.#followers.delete(run);
  }
}

function checkPair(
  certPath: string,
  keyPath: string,
  textOf: (path: string) => string,
  wall: number,
): readonly string[] {
  const [cert, key] = [textOf(certPath), textOf(keyPath)];
  const chain = certificatesIn(certPath, cert);
  const parsedKey = told(keyPath, "no private key that can be read", () => createPrivateKey(key));
  if (chain[0]?.checkPrivateKey(parsedKey) !== true)
    throw new Error(`the key in ${keyPath} does not belong to the certificate in ${certPath}`);
  // The platform has an opinion of its own, on short keys for example.
  told(certPath, "not usable", () => createSecureContext({ cert, key }));
  return chain.flatMap(({ validFrom, validTo }) => {
    if (Date.parse(validTo) <= wall) return [`${certPath}: expired on ${validTo}`];
    return Date.parse(validFrom) > wall ? [`${certPath}: not valid before ${validFrom}`] : [];
  });
}

function checkAuthorities(path: string, textOf: (path: string) => string): readonly string[] {
  const ca = textOf(path);
  certificatesIn(path, ca);
  told(path, "not usable", () => createSecureContext({ ca }));
  return [];
}

/** At least one. */
function certificatesIn(path: string, text: string): readonly X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null) throw new Error(`${path}: there is no certificate in it`);
  return blocks.map((block) =>
    told(path, "a certificate that cannot be read", () => new X509Certificate(block)),
  );
}

function told<T>(path: string, what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const why = wordsOf(error);
    throw new Error(`${path}: ${what}: ${why}`, { cause: error });
  }
}
