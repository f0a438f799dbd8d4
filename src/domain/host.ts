/** Hosts as they are written. Pure. */

/** The host as a socket takes it: an IPv6 address without the brackets that it has in a URL. */
export function bareHost(host: string): string {
  return host.replace(/^\[|\]$/g, "");
}
