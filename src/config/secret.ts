/**
 * Secrets: named in the configuration, never written in it, never printed.
 *
 * A secret is wrapped the moment it is read; every way of turning the wrapper into text gives `[redacted]`, so that a log line,
 * an error or the effective configuration cannot leak one by accident.
 */

import { inspect } from "node:util";

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
