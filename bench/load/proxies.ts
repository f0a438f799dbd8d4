/** Who is compared: this proxy first, the native ones, then three Node libraries. */

import { join } from "node:path";
import { certificateOf, type Proxy } from "./place.ts";
import { NATIVE } from "./native.ts";
import { SELF } from "./self.ts";

/** A Node library, run by `peer.ts`. */
function nodePeer(name: string): Proxy {
  return {
    name,
    kind: "node",
    command(place, setting) {
      const { cert, key } = setting.secure === true ? certificateOf(place) : { cert: "", key: "" };
      const ports = [String(place.port), String(place.upstreamPort)];
      return {
        command: [process.execPath, join(import.meta.dirname, "peer.ts"), name, ...ports, cert, key],
      };
    },
  };
}

/** Everyone who is compared. */
export const PROXIES: readonly Proxy[] = [
  SELF,
  ...NATIVE,
  nodePeer("http-proxy-3"),
  nodePeer("@fastify/reply-from"),
  nodePeer("fast-proxy"),
];
