/**
 * How an arm's `tls` becomes options of `node:tls`: for the data path, which keeps connections, and for the probes, which make them anew. Pure but for the
 * texts of the files, which come as an argument.
 *
 * Name and chain are verified (RFC 9110 §4.3.4, RFC 9525) unless the operator says otherwise. The name is the endpoint's own, or `serverName`, and
 * never that of a request's Host field nor an address that the name leads to; of an endpoint that is an address it is the address.
 */

import { isIP } from "node:net";
import {
  checkServerIdentity,
  createSecureContext,
  type ConnectionOptions,
  type SecureContext,
} from "node:tls";
import { AppError, wordsOf } from "../domain/errors.ts";
import { ARMS, type Arm } from "../domain/split.ts";
import type { ArmConfig, Config } from "./schema.ts";

/** The text of a PEM file of the configuration. Throws when there is none. */
export type PemOf = (path: string) => string;

/** Options of one endpoint's connections. */
export interface UpstreamTls {
  readonly options: ConnectionOptions;
  /** The same for the same options; holds key material, and is for comparing alone. */
  readonly key: string;
}

const MIN_VERSION = "TLSv1.2";
/** Of all arms that say nothing of `tls`, by whose they are: to make one for each connection would cost more than the rest of it. */
const plain = new WeakMap<PemOf, SecureContext>();

/**
 * The options for an endpoint of that host, which may be an address (without brackets). `before` is returned when nothing has changed. Throws
 * AppError SPLIT_CONFIG_INVALID when the files hold no certificate, or a key that is not the certificate's.
 */
export function upstreamTls(
  host: string,
  config: ArmConfig["tls"],
  pemOf: PemOf,
  before?: UpstreamTls,
): UpstreamTls {
  const texts = { ca: read(config?.ca), cert: read(config?.cert), key: read(config?.key) };
  const name = config?.serverName ?? host;
  const key = JSON.stringify([name, config?.verify ?? true, texts]);
  if (before?.key === key) return before;
  return {
    key,
    options: {
      secureContext: config === undefined ? shared(pemOf) : made(),
      rejectUnauthorized: config?.verify ?? true,
      // An address has no name to ask for (RFC 6066 §3).
      ...(isIP(name) === 0
        ? { servername: name }
        : { checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate) }),
    },
  };

  function read(path: string | undefined): string | undefined {
    return path === undefined ? undefined : pemOf(path);
  }

  function made(): SecureContext {
    try {
      return createSecureContext({ minVersion: MIN_VERSION, ...texts });
    } catch (error) {
      const { ca, cert, key: keyFile } = config ?? {};
      const files = [ca, cert, keyFile].filter((each) => each !== undefined).join(", ");
      const detail = wordsOf(error);
      throw new AppError("SPLIT_CONFIG_INVALID", `cannot use ${files} for TLS to an upstream: ${detail}`);
    }
  }
}

function shared(owner: PemOf): SecureContext {
  const known = plain.get(owner);
  if (known !== undefined) return known;
  const context = createSecureContext({ minVersion: MIN_VERSION });
  plain.set(owner, context);
  return context;
}

/** The arms whose `https://` endpoints are taken with any certificate. */
export function unverifiedArms(config: Config): readonly { readonly route: string; readonly arm: Arm }[] {
  return config.routes.flatMap((route) =>
    ARMS.filter(
      (arm) =>
        route[arm].tls?.verify === false && route[arm].endpoints.some((url) => url.startsWith("https:")),
    ).map((arm) => ({ route: route.name, arm })),
  );
}
