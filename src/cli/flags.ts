/** `flags list|get|set` through the running program, and `flags import` for a file of the older form. */

import type { Command } from "commander";
import { flagFileSchema } from "../config/flags.ts";
import { readAs } from "../config/load.ts";
import type { FlagStatus } from "../flags/status.ts";
import { parseRate, percentOf, percentText } from "../domain/units.ts";
import { act, type Access } from "./access.ts";
import { EXIT, confirm, present, pretty, reasonOf, usage, type Context } from "./commands.ts";
import { styleOf, type Io } from "./io.ts";
import { remote, withoutState } from "./remote.ts";
import { clip, plain, table } from "./render.ts";

/** `flags set`, as typed. */
interface SetOptions {
  readonly state?: string;
  readonly variant?: string;
  readonly percentage?: string;
  readonly reset?: boolean;
  readonly force?: boolean;
  readonly reason?: string;
  readonly yes?: boolean;
}

/** The commands about feature flags. */
export function flagCommands(program: Command, io: Io, done: (exit: number) => void): void {
  const flags = program.command("flags").description("feature flags: show them, change them, import them");
  remote(flags, "list", "every flag (exit 1: their file is wrong, and those of before are in force)").action(
    (options: Access) => act(options, io, done, list),
  );
  remote(flags, "get <flag>", "one flag in full").action((flag: string, options: Access) =>
    act(options, io, done, (context) => get(context, flag)),
  );
  withoutState(flags, "set <flag>", "change a flag; it stays so until --reset, whatever the file says")
    .option("--state <on|off>", "off: nobody gets it; on: by its rules, and without any everybody")
    .option("--variant <name>", "everybody gets this one")
    .option("--percentage <percent>", "share of the side that is on, e.g. 10%")
    .option("--reset", "as the file says, from now on")
    .option("--force", "also to switch off a critical flag; needs --reason")
    .option("--reason <text>", "why; goes into the journal")
    .option("--yes", "do not ask")
    .action((flag: string, options: Omit<Access, "state"> & SetOptions) => {
      const { state: _, ...access } = options;
      return act(access, io, done, (context) => set(context, flag, options));
    });
  flags
    .command("import <file>")
    .description("print a flags file of the older form, the one with `enabled`, in flagd's format")
    .option("--json", "print JSON, which it does anyway")
    .action(async (file: string) => {
      io.stdout(await imported(file));
      done(EXIT.done);
    });
}

async function list({ client, io, json }: Context): Promise<number> {
  const found = await client.flags();
  const exit = found.ok ? EXIT.done : EXIT.failed;
  if (json) io.stdout(pretty(found));
  else {
    const style = styleOf(io);
    const rows = found.flags.map((flag) => [flag.key, servesOf(flag), tiesOf(flag), changeOf(flag)]);
    const lines =
      rows.length === 0
        ? ["there are no flags"]
        : table(["flag", "serves", "", "set"], rows, style).map((line) => clip(line, style.columns));
    const trouble = found.ok
      ? []
      : ["the file is wrong, the flags of before are in force:", plain(found.detail)];
    io.stdout(`${[...lines, ...trouble].join("\n")}\n`);
  }
  return exit;
}

async function get({ client, io, json }: Context, key: string): Promise<number> {
  const flag = await client.flag(key);
  io.stdout(json ? pretty(flag) : flagText(flag));
  return EXIT.done;
}

async function set(context: Context, key: string, options: SetOptions): Promise<number> {
  const { state, variant, percentage, reset, force } = options;
  if (state !== undefined && state !== "on" && state !== "off") throw usage("--state takes on or off");
  const share = percentage === undefined ? undefined : parseRate(percentage);
  if (percentage !== undefined && share === undefined)
    throw usage(`--percentage takes a share with its percent sign, like 10%, not ${percentage}`);
  if ([state, variant, percentage, reset].every((each) => each === undefined))
    throw usage("say what is to change: --state, --variant, --percentage or --reset");
  const why = reasonOf(options);
  // To switch something off needs no answer to a question.
  if (state !== "off") await confirm(context, `change the flag ${key}`, options.yes);
  const { client, io, json } = context;
  const flag = await client.setFlag(
    key,
    present({
      state,
      variant,
      percentage: share === undefined ? undefined : percentOf(share),
      reset: reset === true ? (true as const) : undefined,
      force,
      reason: why,
    }),
  );
  io.stdout(json ? pretty(flag) : flagText(flag));
  return EXIT.done;
}

/** What whoever asks gets, in a few words. */
function servesOf({ enabled, strategy, percentage, defaultVariant }: FlagStatus): string {
  if (!enabled) return "off";
  if (percentage !== null) return percentText(percentage);
  return strategy === "targeting" ? "by its rules" : (defaultVariant ?? "the code's default");
}

function tiesOf({ follows, opensAfter, open, critical }: FlagStatus): string {
  const said = [
    ...(critical ? ["critical"] : []),
    ...(follows === null ? [] : [`follows ${follows}`]),
    ...(opensAfter === null ? [] : [`${open ? "open since" : "closed until"} ${opensAfter} succeeded`]),
  ];
  return said.join(", ");
}

function changeOf({ override }: FlagStatus): string {
  if (override === null) return "";
  const { state, variant, percentage, by, reason } = override;
  const what = [state, variant, percentage === undefined ? undefined : percentText(percentage)];
  return `${what.filter((each) => each !== undefined).join(" ")} by ${by}: ${reason}`;
}

function flagText(flag: FlagStatus): string {
  const lines = [
    flag.key,
    `  serves    ${servesOf(flag)}`,
    `  variants  ${Object.entries(flag.variants)
      .map(([name, value]) => `${name} ${JSON.stringify(value)}`)
      .join(", ")}`,
    ...(tiesOf(flag) === "" ? [] : [`  ties      ${tiesOf(flag)}`]),
    ...(flag.override === null ? [] : [`  set       ${changeOf(flag)}`]),
  ];
  return `${lines.map((line) => plain(line)).join("\n")}\n`;
}

/** The flags of a file as flagd has them. */
async function imported(file: string): Promise<string> {
  const flags = await readAs(flagFileSchema({ follow: {}, after: {}, critical: [] }), file);
  const written = [...flags.values()].map(({ key, state, variants, defaultVariant, targeting, metadata }) => [
    key,
    { state, variants, defaultVariant, targeting, metadata },
  ]);
  return pretty({ $schema: "https://flagd.dev/schema/v0/flags.json", flags: Object.fromEntries(written) });
}
