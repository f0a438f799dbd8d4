/** What a feature flag is: flagd's words for it, its two sides, and how a problem with one is told. Pure. */

import { isRecord } from "./record.ts";

/** Keys and indexes from the root of the file. */
export type FlagPath = readonly (string | number)[];

/** One thing that is wrong. `onKey`: it is about the key at the end of the path, not about the value behind it. */
export interface FlagProblem {
  readonly path: FlagPath;
  readonly onKey: boolean;
  readonly message: string;
}

/** What goes with a flag, for people and programs. */
export type FlagMetadata = Readonly<Record<string, string | number | boolean>>;

/** The type that all variants of a flag have. */
export type FlagType = "boolean" | "number" | "string" | "object";

/** One flag, as flagd defines it, references resolved. */
export interface Flag {
  readonly key: string;
  readonly state: "ENABLED" | "DISABLED";
  readonly type: FlagType;
  readonly variants: Readonly<Record<string, unknown>>;
  /** Null: the code's own default. */
  readonly defaultVariant: string | null;
  /** JsonLogic that gives the name of a variant; undefined: always the default. */
  readonly targeting: unknown;
  /** The file's own metadata is in it, too. */
  readonly metadata: FlagMetadata;
}

/** What a file came to. */
export type FlagsRead =
  | { readonly ok: true; readonly flags: ReadonlyMap<string, Flag> }
  | { readonly ok: false; readonly problems: readonly FlagProblem[] };

/** A mapping of a parsed file. */
export type Fields = Readonly<Record<string, unknown>>;

/** What a flag may be called: it becomes a segment of a path. */
export const FLAG_KEY = /^[^\p{Cc}\p{Cs}]{1,200}$/u;
/** Why another key is refused. */
export const BAD_KEY = "a flag's key has 1 to 200 characters, none of them a control";

/** A problem with the value at `path`. */
export function wrong(path: FlagPath, message: string): FlagProblem {
  return { path, onKey: false, message };
}

/** A problem with the key at the end of `path`. */
export function wrongKey(path: FlagPath, message: string): FlagProblem {
  return { path, onKey: true, message };
}

/** The type of a variant's value; undefined for what is none. */
export function typeOf(value: unknown): FlagType | undefined {
  if (isRecord(value)) return "object";
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "string") return "string";
  return typeof value === "number" ? "number" : undefined;
}

/** The names that there are, for a message. */
export function variantsSaid(variants: Fields): string {
  return `there are ${Object.keys(variants).join(", ")}`;
}

/** What metadata may hold. */
export function isMetadataValue(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/** The two sides of a flag that can be on or off: a boolean one, or one of two variants, of which the default is off. */
export function sidesOf(
  flag: Pick<Flag, "type" | "variants" | "defaultVariant">,
): { readonly on: string; readonly off: string } | undefined {
  const names = Object.keys(flag.variants);
  const on =
    flag.type === "boolean"
      ? names.find((name) => flag.variants[name] === true)
      : names.length === 2 && flag.defaultVariant !== null
        ? names.find((name) => name !== flag.defaultVariant)
        : undefined;
  const off =
    flag.type === "boolean"
      ? names.find((name) => flag.variants[name] === false)
      : (flag.defaultVariant ?? undefined);
  return on === undefined || off === undefined ? undefined : { on, off };
}

/** What a flag serves that is switched off: a boolean one false, another its default. Null: the code's own default. */
export function offVariantOf(flag: Flag): string | null {
  return sidesOf(flag)?.off ?? flag.defaultVariant;
}

/** Whether everybody gets true. */
export function isAlwaysOn({ state, variants, defaultVariant, targeting }: Flag): boolean {
  return (
    state === "ENABLED" &&
    targeting === undefined &&
    defaultVariant !== null &&
    variants[defaultVariant] === true
  );
}
