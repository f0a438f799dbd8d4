/**
 * The certificate of the operators' listener: read at start, and again when its files change (reliability.md 51).
 *
 * A pair is tried before it is used: a key that does not belong to the certificate, a file that is half written or gone leaves the old pair in
 * force and is said in the log. Certificate and key are replaced one after the other, so the first half of an exchange may be refused; the second
 * half then puts the whole in force.
 */

import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { watchConfig, type WatchOptions } from "../config/watch.ts";
import { AppError, wordsOf } from "../domain/errors.ts";
import type { Clock, Log } from "../engine/ports.ts";
import { CIPHERS } from "../proxy/certificates.ts";

/** Where the certificate, with its chain, and its key are: PEM files. */
export interface PairFiles {
  readonly cert: string;
  readonly key: string;
}

/** A certificate with its key, and what is spoken with them, as on the public listeners: what `setSecureContext` takes. */
export interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly minVersion: "TLSv1.2";
  readonly ciphers: string;
}

/** The pair in `files`. Throws SPLIT_LISTEN_FAILED, which names the file, when it cannot be read or is no pair. */
export async function readPair(files: PairFiles): Promise<Pair> {
  const pair = {
    cert: await bytesOf(files.cert),
    key: await bytesOf(files.key),
    minVersion: "TLSv1.2",
    ciphers: CIPHERS,
  } as const;
  try {
    createSecureContext(pair);
  } catch (error) {
    // OpenSSL's words name the trouble ("key values mismatch") and hold nothing of the key.
    throw refused(`${files.cert} and ${files.key} are no certificate with its key: ${wordsOf(error)}`, error);
  }
  return pair;
}

/** A watch on a pair of files. */
export interface PairWatch {
  /** Looks at once; resolves when what is new, if it is a pair, is in force. */
  look(): Promise<void>;
  close(): void;
}

/**
 * Watches `files`, from which `first` came, and hands each new pair to `use`. What is no pair, or is not valid on this day, is logged and
 * changes nothing.
 */
export async function watchPair(
  files: PairFiles,
  first: Pair,
  use: (pair: Pair) => void,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  options: WatchOptions = {},
): Promise<PairWatch> {
  let current = first;
  // At start it is used all the same: an operator who is locked out can mend nothing.
  const end = invalidity(first, clock);
  if (end !== undefined)
    log.warn("the admin API's certificate is not valid now", { file: files.cert, detail: end });

  async function change(): Promise<void> {
    try {
      const pair = await readPair(files);
      if (pair.cert.equals(current.cert) && pair.key.equals(current.key)) return;
      const trouble = invalidity(pair, clock);
      if (trouble !== undefined) throw refused(trouble);
      use(pair);
      current = pair;
      log.info("the admin API has a new certificate", { file: files.cert });
    } catch (error) {
      log.error("the admin API's new certificate cannot be used, the old one stays in force", {
        file: files.cert,
        detail: wordsOf(error),
      });
    }
  }
  // One at a time: both files may change at once, and the later look must win.
  let last: Promise<void> = Promise.resolve();
  const changed = (): Promise<void> => (last = last.then(change));
  const onError = (error: Error): void =>
    log.warn("the folder of the admin API's certificate cannot be watched", { detail: error.message });
  const watches = await Promise.all(
    [files.cert, files.key].map((file) => watchConfig(file, changed, { onError, ...options })),
  );
  return {
    async look() {
      for (const watch of watches) await watch.look();
    },
    close() {
      for (const watch of watches) watch.close();
    },
  };
}

async function bytesOf(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw refused(`${file} cannot be read: ${wordsOf(error)}`, error);
  }
}

/** Why a certificate is not to be used on this day; undefined when it may be. */
function invalidity({ cert }: Pair, clock: Clock): string | undefined {
  const { validFromDate, validToDate } = new X509Certificate(cert);
  const now = clock.wall();
  if (validFromDate.getTime() <= now && now < validToDate.getTime()) return undefined;
  return `it is valid from ${validFromDate.toISOString()} to ${validToDate.toISOString()}`;
}

function refused(message: string, cause?: unknown): AppError {
  return new AppError("SPLIT_LISTEN_FAILED", `no TLS for the admin API: ${message}`, { cause });
}
