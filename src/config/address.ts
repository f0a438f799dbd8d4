/**
 * Where a URL that somebody wrote into a configuration may lead. Refused are the addresses at which a cloud tells a machine its credentials, and those that
 * are no place to POST to: link-local ones, multicast, "this host". Private networks and loopback are where hooks usually are.
 *
 * It is the address that is judged, at the moment of connecting: a name is looked up once, what came of it is judged, and what was judged is connected to.
 * A name that leads elsewhere the next time (DNS rebinding) has gained nothing.
 */

import { BlockList, isIP, type LookupFunction } from "node:net";

/** Asks for the addresses of a name, best first. Rejects when there is no answer. */
export type Lookup = (name: string) => Promise<readonly string[]>;

/** Networks of IPv4 that are refused; IPv6 addresses that stand for them are, too. */
const REFUSED_V4: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 8],
  ["169.254.0.0", 16],
  // Metadata of Alibaba, Oracle and Azure, which are not link-local.
  ["100.100.100.200", 32],
  ["192.0.0.192", 32],
  ["168.63.129.16", 32],
  ["224.0.0.0", 3],
];
const REFUSED_V6: readonly (readonly [string, number])[] = [
  ["::", 128],
  ["fe80::", 10],
  ["ff00::", 8],
  // Metadata of AWS and Google.
  ["fd00:ec2::", 32],
  ["fd20:ce::254", 128],
];

const refused = new BlockList();
for (const [base, prefix] of REFUSED_V4) {
  refused.addSubnet(base, prefix, "ipv4");
  const [a = 0, b = 0, c = 0, d = 0] = base.split(".").map(Number);
  const [high, low] = [(a * 256 + b).toString(16), (c * 256 + d).toString(16)];
  // NAT64 and 6to4; the list itself knows that ::ffff: is IPv4. The bare ::/96 went out of use.
  refused.addSubnet(`64:ff9b::${high}:${low}`, 96 + prefix, "ipv6");
  refused.addSubnet(`2002:${high}:${low}::`, 16 + prefix, "ipv6");
  refused.addSubnet(`::${high}:${low}`, 96 + prefix, "ipv6");
}
for (const [base, prefix] of REFUSED_V6) refused.addSubnet(base, prefix, "ipv6");
// "::/104" came with 0.0.0.0/8, and loopback is within it.
const loopback = new BlockList();
loopback.addAddress("::1", "ipv6");

/** Whether nothing is to be sent to this address, which may have a zone. Text that is no address is refused. */
export function isRefused(address: string): boolean {
  const bare = address.replace(/%.*$/, "");
  const version = isIP(bare);
  if (version === 0) return true;
  const family = version === 6 ? "ipv6" : "ipv4";
  return refused.check(bare, family) && !loopback.check(bare, family);
}

/** The field that carries the user and password of a URL; none when it has none. */
export function credentialsOf({ username, password }: URL): Readonly<Record<string, string>> {
  if (username === "" && password === "") return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

/** The address is none to send to. */
export class RefusedAddress extends Error {
  constructor(address: string) {
    super(`leads to ${address}, which is refused; \`allowPrivate: true\` would allow it`);
  }
}

/** Throws RefusedAddress when `host` is itself an address that is refused. Names are judged by `guarded`. */
export function checkHost(host: string): void {
  if (isIP(host) !== 0 && isRefused(host)) throw new RefusedAddress(host);
}

/** `lookup` in the form of `node:net`; with `isGuarded` one refused address among the answers refuses the name. */
export function lookupOf(lookup: Lookup, isGuarded: boolean): LookupFunction {
  return (name, options, callback) => {
    lookup(name).then(
      (addresses) => {
        const bad = isGuarded ? addresses.find(isRefused) : undefined;
        const [first] = addresses;
        if (bad !== undefined) callback(new RefusedAddress(bad), "");
        else if (first === undefined)
          callback(Object.assign(new Error("no address"), { code: "ENOTFOUND" }), "");
        else if (options.all === true)
          callback(
            null,
            addresses.map((address) => ({ address, family: isIP(address) })),
          );
        else callback(null, first, isIP(first));
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), ""),
    );
  };
}
