/** Lists of networks, ready to be asked. Apart from `texts.ts` so that a thread that carries traffic does not load a validator: 8 MB. */

import { BlockList, isIP } from "node:net";

/** The networks as a list that answers `check(address)`. */
export function networksOf(cidrs: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of cidrs) {
    const [base = "", prefix] = text.split("/");
    const family = isIP(base) === 6 ? "ipv6" : "ipv4";
    if (prefix === undefined) list.addAddress(base, family);
    else list.addSubnet(base, Number(prefix), family);
  }
  return list;
}
