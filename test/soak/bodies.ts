/** Bodies that are far larger than the memory that they may take, past peers that are slower than what they come from. */

import { growthDuring, must } from "./check.ts";
import { road, type Asking, type Result } from "./client.ts";
import { withSite } from "./site.ts";
import { digestOf } from "./upstream.ts";

const SIZE = 2 * 1024 ** 3;
/** RSS may grow by so much, MiB. */
const GROWTH = 64;
/** A slow peer stops for so long after every 8 MiB. */
const SLOW_MS = 20;

/** 2 GiB to a client that reads slowly, 2 GiB to an upstream that reads slowly, and 2 GiB from a client that writes slowly. */
export function largeBodies(): Promise<string> {
  return withSite(async (at) => {
    const client = road(at, "http1");
    await client.ask({ path: "/" });
    const digest = digestOf(SIZE);
    const carry = async (
      name: string,
      asking: Asking,
      isRight: (result: Result) => boolean,
    ): Promise<string> => {
      const { result, growth } = await growthDuring(at, () => client.ask(asking));
      must(isRight(result), `${name}: ${JSON.stringify(result)}`);
      must(growth <= GROWTH, `${name}: RSS grew by ${growth.toFixed(1)} MiB, ${GROWTH} are allowed`);
      return `${name} +${growth.toFixed(1)}`;
    };
    const upload = { method: "POST", upload: SIZE };
    const growths = [
      await carry(
        "to a slow client",
        { path: `/bytes?n=${SIZE}`, slowMs: SLOW_MS },
        (result) => result.isWhole && result.digest === digest,
      ),
      await carry(
        "to a slow upstream",
        { ...upload, path: `/take?slow=${SLOW_MS}` },
        ({ text }) => text === digest,
      ),
      await carry(
        "from a slow client",
        { ...upload, path: "/take", slowMs: SLOW_MS },
        ({ text }) => text === digest,
      ),
    ];
    client.close();
    return `2 GiB each, RSS in MiB: ${growths.join(", ")}`;
  });
}
