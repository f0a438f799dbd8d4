/** The plain texts of the configuration: names, addresses, networks, endpoints, key sources. Each refuses what it is not. */

import { isIP } from "node:net";
import { z } from "zod";

/** A name: letters, digits, `_`, `.` and `-`, at most 63. It becomes a label, a path segment and a file name. */
export const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, "expected a name: letters, digits, _ . and -, at most 63");

/** A path in the file system; relative ones start at the working directory. */
export const path = z.string().min(1);

/** `host:port`, `[v6]:port`, `:port` or `unix:PATH`. */
export const address = z
  .string()
  .regex(/^(unix:.+|(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):\d{1,5})$/, 'expected "address:port" or "unix:PATH"')
  .refine(
    (text) => text.startsWith("unix:") || Number(text.slice(text.lastIndexOf(":") + 1)) <= 65_535,
    "the port is above 65535",
  );

/** An address or a network in CIDR form. */
export const cidr = z.string().refine(isCidr, 'expected an address or a network, like "10.0.0.0/8"');

function isCidr(text: string): boolean {
  const [base = "", prefix, ...rest] = text.split("/");
  const family = isIP(base);
  if (family === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

/** An upstream server: `http://host:port`, `https://host:port` or `h2c://host:port`, nothing behind it. */
export const endpoint = z
  .string()
  .regex(
    /^(?:https?|h2c):\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/,
    'expected an endpoint like "http://10.0.0.1:8080", without a path',
  )
  .refine((text) => URL.canParse(text), "the port is above 65535");

/** Where a key may be: `header:NAME`, `cookie:NAME`, `query:NAME`, `jwt:CLAIM`, `ip`, or `tls`: the subject of a verified client certificate. */
export const keySource = z
  .string()
  .regex(
    /^(header:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|cookie:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query:[^\s&=#]+|jwt:\S+|ip|tls)$/,
    'expected "header:NAME", "cookie:NAME", "query:NAME", "jwt:CLAIM", "ip" or "tls"',
  );

/** What becomes of a request without a key. */
export const anonymous = z.enum(["cookie", "random", "stable"]);

/** Where something is to be POSTed. */
export const webUrl = z.url({
  protocol: /^https?$/,
  error: 'expected a URL like "https://hooks.example/sluice"',
});
