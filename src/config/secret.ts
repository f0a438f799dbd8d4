/**
 * Secrets: named in the configuration, never written in it, never printed.
 *
 * A secret is wrapped the moment it is read; every way of turning the wrapper into text gives `[redacted]`, so that a log line,
 * an error or the effective configuration cannot leak one by accident.
 */

import { readFile, stat } from "node:fs/promises";
import { inspect } from "node:util";
import type { Config } from "./schema.ts";

/** Where a secret is to be found: `{ env: NAME }` or `{ file: PATH }`. */
export type SecretSource = { readonly env: string } | { readonly file: string };

/** A secret with its source. Prints as `[redacted]`. */
export class Secret {
  readonly #value: string;
  readonly source: SecretSource;

  constructor(value: string, source: SecretSource) {
    this.#value = value;
    this.source = source;
  }

  /** The secret itself; for comparing and signing only. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }

  [inspect.custom](): string {
    return "[redacted]";
  }
}

/** The environment variables of the process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What came of reading a secret; `message` never holds any of it. */
export type SecretRead =
  { readonly ok: true; readonly secret: Secret } | { readonly ok: false; readonly message: string };

/** Bytes of a secret file at the most: a wrong path to a large file is no secret. */
const MAX_SECRET_BYTES = 64 * 1024;

/**
 * The secret at `source`, without the line end that editors and `kubectl create secret` leave behind. Not ok when it is not there, not
 * readable or empty: an empty secret would let everybody in.
 */
export async function readSecret(source: SecretSource, env: Environment): Promise<SecretRead> {
  if ("env" in source) {
    const value = env[source.env];
    if (value === undefined) {
      return { ok: false, message: `the environment variable ${source.env} is not set` };
    }
    return wrapped(value, source, `the environment variable ${source.env} is empty`);
  }
  try {
    if ((await stat(source.file)).size > MAX_SECRET_BYTES) {
      return {
        ok: false,
        message: `the secret file ${source.file} is longer than ${MAX_SECRET_BYTES} bytes`,
      };
    }
    const text = await readFile(source.file, "utf8");
    return wrapped(text.replace(/\r?\n$/, ""), source, `the secret file ${source.file} is empty`);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    return { ok: false, message: `the secret file ${source.file} cannot be read (${code})` };
  }
}

function wrapped(value: string, source: SecretSource, empty: string): SecretRead {
  return value === "" ? { ok: false, message: empty } : { ok: true, secret: new Secret(value, source) };
}

/** Every secret that a configuration names, with the path of its source, in the order of the file. */
export function secretSourcesOf(
  config: Config,
): readonly { readonly path: readonly (string | number)[]; readonly source: SecretSource }[] {
  const found: { path: readonly (string | number)[]; source: SecretSource }[] = [];
  config.admin.tokens.forEach((each, index) => {
    found.push({ path: ["admin", "tokens", index, "token"], source: each.token });
  });
  config.routes.forEach((each, index) => {
    const source = each.override?.secret;
    if (source !== undefined) found.push({ path: ["routes", index, "override", "secret"], source });
  });
  const source = config.notify.webhook?.secret;
  if (source !== undefined) found.push({ path: ["notify", "webhook", "secret"], source });
  return found;
}
