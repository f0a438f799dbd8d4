/** Who takes part in a work. Pure. */

import type { Options } from "./options.ts";
import type { Proxy, Setting } from "./place.ts";
import type { Work } from "./works.ts";

/** One target of a work. */
export interface Target {
  readonly label: string;
  readonly kind: "direct" | "self" | "native" | "node";
  /** Undefined for the direct way. */
  readonly proxy: Proxy | undefined;
  readonly setting: Setting;
}

/** The targets of a work, of the `present` proxies. `best` is the cheapest Node library, once `main` has found it. */
export function targetsOf(
  work: Work,
  present: readonly Proxy[],
  options: Pick<Options, "peers" | "allNatives">,
  best: string | undefined,
): readonly Target[] {
  if (work.variants !== undefined) return variantsOf(work, present);
  const isMain = work.name === "main";
  const { allNatives } = options;
  const peers =
    isMain && options.peers === "best"
      ? "all"
      : options.peers === "as the work says"
        ? work.peers
        : options.peers;
  const takesPart = ({ kind, name }: Proxy): boolean => {
    if (kind === "native") return isMain || allNatives || name === "nginx";
    if (kind === "node") return peers === "all" || (peers === "best" && (best ?? name) === name);
    return true;
  };
  const { setting } = work;
  const direct: readonly Target[] = work.hasDirect
    ? [{ label: "direct", kind: "direct", proxy: undefined, setting }]
    : [];
  return [
    ...direct,
    ...present.filter(takesPart).map((proxy) => ({ label: proxy.name, kind: proxy.kind, proxy, setting })),
  ];
}

/** This proxy in each of a work's ways; nobody where it does not take part. */
function variantsOf({ variants = [], setting }: Work, present: readonly Proxy[]): readonly Target[] {
  return present
    .filter(({ kind }) => kind === "self")
    .flatMap((proxy) =>
      variants.map((each) => ({
        label: each.label,
        kind: proxy.kind,
        proxy,
        setting: { ...setting, ...each.setting },
      })),
    );
}
