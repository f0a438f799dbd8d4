/**
 * Secrets: named in the configuration, never written in it, never printed.
 *
 * A secret is wrapped the moment it is read; every way of turning the wrapper into text gives `[redacted]`, so that a log line,
 * an error or the effective configuration cannot leak one by accident.
 */

import { readFile, stat } from "node:fs/promises";
import { inspect } from "node:util";
import { codeOf } from "../domain/errors.ts";
import { notifySecrets, refusalOf } from "./notify.ts";
import type { Config } from "./schema.ts";
import { stateOf } from "./state.ts";
import { webUrl } from "./texts.ts";

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

/**
 * What a secret is for: an operator's token must be strong and sendable, a field's value sendable, a URL one, and one that is public no link-local or metadata
 * address; any other one is between two programs.
 */
export type SecretKind = "token" | "field" | "url" | "publicUrl" | "other";

/** What came of reading a secret; `message` never holds any of it. */
export type SecretRead =
  { readonly ok: true; readonly secret: Secret } | { readonly ok: false; readonly message: string };

/** Bytes of a secret file at the most: a wrong path to a large file is no secret. */
const MAX_SECRET_BYTES = 64 * 1024;
/** Characters of a token at the least: 128 random bits have 22 in base64 and 32 in hexadecimal. */
const MIN_TOKEN = 22;

/**
 * The secret at `source`, without the line end that editors and `kubectl create secret` leave behind. Not ok when it is not there, not
 * readable or empty: an empty secret would let everybody in. Nor for a token that is too short to be one, or that no header can carry.
 */
export async function readSecret(
  source: SecretSource,
  env: Environment,
  kind: SecretKind = "other",
): Promise<SecretRead> {
  if ("env" in source) {
    const value = env[source.env];
    if (value === undefined) {
      return { ok: false, message: `the environment variable ${source.env} is not set` };
    }
    return wrapped(value, source, `the environment variable ${source.env}`, kind);
  }
  try {
    if ((await stat(source.file)).size > MAX_SECRET_BYTES) {
      return {
        ok: false,
        message: `the secret file ${source.file} is longer than ${MAX_SECRET_BYTES} bytes`,
      };
    }
    const text = await readFile(source.file, "utf8");
    return wrapped(text.replace(/\r?\n$/, ""), source, `the secret file ${source.file}`, kind);
  } catch (error) {
    const code = codeOf(error) || "unreadable";
    return { ok: false, message: `the secret file ${source.file} cannot be read (${code})` };
  }
}

function wrapped(value: string, source: SecretSource, where: string, kind: SecretKind): SecretRead {
  const refuse = (why: string): SecretRead => ({ ok: false, message: `${where} ${why}` });
  if (value === "") return refuse("is empty");
  if ((kind === "token" || kind === "field") && !/^[\x21-\x7e]+$/.test(value))
    return refuse("holds what no header can carry: a token is visible ASCII, without spaces");
  if (kind === "url" || kind === "publicUrl") {
    if (!webUrl.safeParse(value).success) return refuse("holds no http or https URL");
    const why = kind === "publicUrl" ? refusalOf(value) : undefined;
    if (why !== undefined) return refuse(why);
  }
  if (kind === "token" && value.length < MIN_TOKEN)
    return refuse(`holds a token of fewer than ${MIN_TOKEN} characters, too few for 128 random bits`);
  return { ok: true, secret: new Secret(value, source) };
}

/** A secret that a configuration names: the path of its source, and what it is for. */
export interface NamedSecret {
  readonly path: readonly (string | number)[];
  readonly source: SecretSource;
  readonly kind: SecretKind;
}

/** Every secret that a configuration names, in the order of the file. */
export function secretSourcesOf(config: Config): readonly NamedSecret[] {
  const found: NamedSecret[] = [];
  config.admin.tokens.forEach((each, index) => {
    found.push({ path: ["admin", "tokens", index, "token"], source: each.token, kind: "token" });
  });
  config.routes.forEach((each, index) => {
    const source = each.override?.secret;
    if (source !== undefined)
      found.push({ path: ["routes", index, "override", "secret"], source, kind: "other" });
    const confirmSecret = each.confirm?.secret;
    if (confirmSecret !== undefined)
      found.push({ path: ["routes", index, "confirm", "secret"], source: confirmSecret, kind: "other" });
    each.preflight.webhooks.forEach((hook, at) => {
      const path = ["routes", index, "preflight", "webhooks", at, "secret"];
      if (hook.secret !== undefined) found.push({ path, source: hook.secret, kind: "other" });
    });
  });
  const state = stateOf(config.state);
  if (state.kind === "redis") {
    for (const key of ["password", "sentinelPassword", "ca", "cookieSecret"] as const) {
      const source = state[key];
      if (source !== undefined) found.push({ path: ["state", key], source, kind: "other" });
    }
  }
  const headers = config.tracing === "off" ? {} : config.tracing.headers;
  for (const [name, each] of Object.entries(headers))
    found.push({ path: ["tracing", "headers", name], source: each, kind: "other" });
  return [...found, ...notifySecrets(config.notify)];
}
