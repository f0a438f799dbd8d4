/**
 * The command line: how each command is spelt, and what a failure exits with. The only door to commander.
 *
 * Knows nothing of servers: `run` and `demo` are handed in, so that importing this starts nothing.
 */

import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { readFlagFile } from "../config/flag-file.ts";
import { effective, effectiveYaml, loadConfig, readConfig } from "../config/load.ts";
import { asAppError, CODES } from "../domain/errors.ts";
import { act, configOf, stateFolderOf, type Access } from "./access.ts";
import { alertCommands } from "./alerts.ts";
import { runBacktest, type BacktestTyped } from "./backtest.ts";
import * as backups from "./backups.ts";
import * as commands from "./commands.ts";
import { completionScript, type Completed } from "./completion.ts";
import { deployTyped, type DeployTyped } from "./deploy.ts";
import { drill, type DrillOptions } from "./drill.ts";
import { flagCommands } from "./flags.ts";
import { EXAMPLES } from "./examples.ts";
import { follow } from "./follow.ts";
import * as gates from "./gates.ts";
import { healthCommands } from "./health.ts";
import { incidentCommands } from "./incidents.ts";
import type { Io } from "./io.ts";
import { verifyJournal, type VerifyOptions } from "./journal.ts";
import { plan, type PlanOptions } from "./plan.ts";
import { preflight, type PreflightOptions } from "./preflight.ts";
import { replicaCommand } from "./replicas.ts";
import { report, type ReportOptions } from "./report.ts";
import { remote } from "./remote.ts";
import { restoreOffline } from "./restore-offline.ts";
import { safetyCommands } from "./safety.ts";
import { versionCommands } from "./version.ts";

/** What the demonstration is told. */
export interface DemoOptions {
  /** Whether the canary starts to fail on the way. */
  readonly break: boolean;
  /** One JSON object per line instead of a table. */
  readonly json: boolean;
  /** Goes on after its end until it is interrupted. */
  readonly stay: boolean;
}

/** The programs that the command line starts but does not contain; each resolves its exit code. */
export interface Programs {
  run(options: { readonly config: string }): Promise<number>;
  demo(options: DemoOptions): Promise<number>;
}

/** A late answer is to sign or promote no other step than the one that was seen. */
const STEP_OPTION = [
  "--step <index>",
  "only if it is still at this step, by its index in status, which counts from 0; left out: the one shown now",
] as const;

/** Runs the command in `argv` (without program and script) and resolves its exit code. Never rejects: trouble is one line on stderr. */
export async function runCli(argv: readonly string[], programs: Programs, io: Io): Promise<number> {
  let code = 0;
  const program = programOf(programs, io, (exit) => {
    code = exit;
  });
  try {
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return usageExit(error, io);
    const known = asAppError(error);
    // A configuration has one line per problem, each with its place.
    for (const line of known.message.split("\n")) io.stderr(`sluice: ${line} (${known.code})\n`);
    return CODES[known.code].exit;
  }
}

function usageExit(error: CommanderError, io: Io): number {
  // Help and version that were asked for end here too; what commander prints is out already.
  if (error.exitCode === 0) return 0;
  if (error.code !== "commander.help") {
    const message = error.message.replace(/^error: /, "").replaceAll(/\s*\n\s*/g, " ");
    io.stderr(`sluice: ${message} (SPLIT_USAGE)\n`);
  }
  return CODES.SPLIT_USAGE.exit;
}

/** The whole command line as commander knows it; `done` is told the exit code of the command that ran. */
function programOf(programs: Programs, io: Io, done: (exit: number) => void): Command {
  const program = new Command("sluice")
    .description("Moves traffic from one version of a service to the next, and back by itself when it must.")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: io.stdout,
      writeErr: io.stderr,
      outputError: () => undefined,
      getOutHelpWidth: () => io.columns,
      getErrHelpWidth: () => io.columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText(
      "after",
      "\nExit codes: 0 done or healthy, 1 failed or rolled back, 2 usage or configuration, 3 paused or waiting for a\n" +
        "person, 4 conflict, 5 unreachable, 124 timed out.",
    );
  versionCommands(program, io, done);
  localCommands(program, programs, io, done);
  trialCommands(program, io, done);
  rolloutCommands(program, io, done);
  handCommands(program, io, done);
  gateCommands(program, io, done);
  safetyCommands(program, io, done);
  healthCommands(program, io, done);
  replicaCommands(program, io, done);
  backupCommands(program, io, done);
  flagCommands(program, io, done);
  incidentCommands(program, io, done);
  replicaCommand(program, io, done);
  alertCommands(program, io, done);
  program
    .command("completion <shell>")
    .description("print a script that completes commands, options and routes in bash, zsh or fish")
    .action((shell: string) => {
      io.stdout(completionScript(shell, completedOf(program)));
      done(0);
    });
  for (const command of everyCommand(program)) {
    const shown = EXAMPLES[wordsOf(command)] ?? [];
    const lines = shown.map(([typed, about]) => `  ${typed}\n      ${about}`);
    if (lines.length > 0) command.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
  }
  return program;
}

function everyCommand(program: Command): readonly Command[] {
  return program.commands.flatMap((command) => [command, ...everyCommand(command)]);
}

/** The words of a command, without the program's own. */
function wordsOf(command: Command): string {
  const { parent } = command;
  return parent === null || parent.parent === null ? command.name() : `${wordsOf(parent)} ${command.name()}`;
}

function completedOf(program: Command): readonly Completed[] {
  return program.commands.map((command) => ({
    name: command.name(),
    about: command.description(),
    options: command.options.flatMap(({ long, description }) =>
      typeof long === "string" ? [{ flag: long, about: description }] : [],
    ),
    takesRoute: command.registeredArguments[0]?.name() === "route",
    inner: command.commands.map((each) => each.name()),
  }));
}

function localCommands(program: Command, programs: Programs, io: Io, done: (exit: number) => void): void {
  program
    .command("run")
    .description("run the proxy")
    .requiredOption("-c, --config <file>", "configuration file")
    .action(async (options: { config: string }) => done(await programs.run({ config: options.config })));
  program
    .command("check")
    .description("validate a configuration and print it with every default in place")
    .requiredOption("-c, --config <file>", "configuration file")
    .option("--skip-secrets", "do not look whether the secrets it names can be read here")
    .option("--json", "print JSON")
    .action(async (options: { config: string; skipSecrets?: boolean; json?: boolean }) => {
      const { config } = await (options.skipSecrets === true
        ? readConfig(options.config)
        : loadConfig(options.config, io.env));
      if (config.flags !== undefined) await readFlagFile(config.flags);
      io.stdout(
        options.json === true ? `${JSON.stringify(effective(config), null, 2)}\n` : effectiveYaml(config),
      );
      done(0);
    });
  program
    .command("demo")
    .description("two sample upstreams, the proxy and a little traffic: a rollout in under a minute")
    .option("--break", "break the canary at 25 % and watch the rollback")
    .option("--stay", "go on until it is interrupted, to look around in the console")
    .option("--json", "print one JSON object per line")
    .action(async (options: { break?: boolean; json?: boolean; stay?: boolean }) => {
      const { break: breaks = false, json = false, stay = false } = options;
      done(await programs.demo({ break: breaks, json, stay }));
    });
}

function trialCommands(program: Command, io: Io, done: (exit: number) => void): void {
  program
    .command("backtest")
    .description(
      "run a plan over recorded access logs, or a made-up world: what would have rolled back, and when",
    )
    .option("--plan <name>", "a plan of the configuration, or a YAML file with one; left out: the route's")
    .option("-c, --config <file>", "take rules, endpoints and known issues from this configuration")
    .option("--route <name>", "this route of it, and of a log that names routes")
    .option("--log <file>", "access log, may be .gz; - is standard input; may be given again", gathered)
    .option("--format <form>", "json, nginx or envoy; auto: by each file's first line", "auto")
    .option("--log-format <format>", "NGINX's log_format, unless combined with $request_time $upstream_addr")
    .option("--canary <address>", "HOST:PORT of the canary in the log; may be given again", gathered)
    .option("--arms <which>", "both or one arm in the log; auto: by the log's beginning", "auto")
    .option("--fault <text>", 'put into the canary, like "errors=20% slower=2x from=1h for=10m"', gathered)
    .option("--rps <number>", "without a log: requests a second", "100")
    .option("--duration <duration>", "without a log: how long", "1h")
    .option("--errors <share>", "without a log: of stable's responses fail", "0%")
    .option("--latency <duration>", "without a log: stable's median", "50ms")
    .option("--salts <count>", "runs of stable against itself, each a false alarm if it rolls back", "0")
    .option("--seed <number>", "of all chance", "1")
    .option("--json", "print JSON")
    .action(async (typed: BacktestTyped) => done(await runBacktest(typed, io)));
}

/** An option that may be given again. */
function gathered(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function rolloutCommands(program: Command, io: Io, done: (exit: number) => void): void {
  const planned = (command: Command): Command =>
    command
      .option("--strategy <name>", "a plan's name, or custom with --steps; left out: the route's plan")
      .option("--steps <list>", "weights in percent, rising, e.g. 0,5,25,50,100")
      .option("--hold <duration>", "least time at each of --steps, e.g. 10m")
      .option("--wait <seconds>", "replace every hold, for a rehearsal: seconds, or a duration with its unit")
      .option("--start <time>", "when it starts, ISO 8601; left out: now");
  const assuming = (command: Command): Command =>
    command
      .option("--rps <number>", "forecast for so many requests per second; left out: as measured now")
      .option("--baseline <percent>", "share that fails anyway, e.g. 0.1%; left out: stable's, or 0.01%")
      .option("--harm <percent>", "rise of the error rate that should be found; left out: 0.5%");
  assuming(
    planned(
      remote(program, "plan [route]", "dry run: dates, and whether each step will know enough (exit 3: no)"),
    ),
  ).action((route: string | undefined, options: Access & PlanOptions) =>
    act(options, io, done, (context) => plan(context, route, options)),
  );
  remote(program, "preflight <route>", "check now what must hold before a rollout (exit 1: it does not)")
    .option("--version <text>", "what would be rolled out; left out: the configuration's")
    .action((route: string, options: Access & PreflightOptions) =>
      act(options, io, done, (context) => preflight(context, route, options)),
    );
  remote(program, "drill <route>", "prove the way back with synthetic requests (exit 1: it is not proved)")
    .option("--list", "make none, show the reports of those before")
    .option("--force", "although a rollout is under way; needs --reason")
    .option("--reason <text>", "why; goes into the journal")
    .action((route: string, options: Access & DrillOptions) =>
      act(options, io, done, (context) => drill(context, route, options)),
    );
  const deploying = planned(remote(program, "deploy <route>", "start a rollout"))
    .option("--version <text>", "what runs on the canary, for people")
    .option("--force", "during a cooldown, or over a running rollout; needs --reason")
    .option("--reason <text>", "why; goes into the journal")
    .option("--no-announce", "sooner than the plan promises to tell people; needs --reason")
    .option("--yes", "do not ask")
    .option("--follow", "stay until it has succeeded (0), has not (1) or waits for a person (3)")
    .option("--timeout <duration>", "with --follow: give up after so long (exit 124); the rollout goes on")
    .option("--dry-run", "as `plan`: start nothing; the options below go with it");
  assuming(deploying).action((route: string, options: Access & DeployTyped) =>
    act(options, io, done, (context) => deployTyped(context, route, options)),
  );
  remote(program, "status [route]", "show one route in full, or all")
    .option("--watch", "follow until it has succeeded or rolled back")
    .option("--timeout <duration>", "with --watch: give up after so long (exit 124)")
    .option("--interval <duration>", "with --watch: time between two looks", "1s")
    .action(
      (
        route: string | undefined,
        options: Access & { watch?: boolean; timeout?: string; interval: string },
      ) => {
        const intervalMs = commands.durationOf(options.interval, "--interval");
        const timeoutMs =
          options.timeout === undefined ? undefined : commands.durationOf(options.timeout, "--timeout");
        return act(options, io, done, (context) =>
          options.watch === true
            ? follow(context, route, { intervalMs, timeoutMs })
            : commands.status(context, route),
        );
      },
    );
}

interface ByHand extends Access {
  readonly reason: string;
  readonly yes?: boolean;
}

/** What may be forced, with a reason. */
interface Forced {
  readonly reason?: string;
  readonly force?: boolean;
  readonly yes?: boolean;
}

function handCommands(program: Command, io: Io, done: (exit: number) => void): void {
  remote(program, "set-weight <route> <percent>", "set the canary's share by hand; pauses a running rollout")
    .option("--reason <text>", "why; goes into the journal")
    .option("--force", "over a cooldown, a gate, a window, a freeze or checks; needs --reason")
    .option("--yes", "do not ask")
    .action((route: string, weight: string, options: Access & Forced) =>
      act(options, io, done, (context) => commands.setWeight(context, route, weight, options)),
    );
  remote(program, "pause <route>", "stop the climb where it is; rollback stays armed")
    .option("--reason <text>", "why; goes into the journal", "manual")
    .action((route: string, options: ByHand) =>
      act(options, io, done, (context) => commands.pause(context, route, options.reason)),
    );
  remote(program, "resume <route>", "go on climbing")
    .option("--reason <text>", "why; goes into the journal", "manual")
    .option("--yes", "do not ask")
    .action((route: string, options: ByHand) =>
      act(options, io, done, (context) => commands.resume(context, route, options)),
    );
  remote(program, "promote <route>", "go to the next step now")
    .option("--full", "go to 100 % now")
    .option(...STEP_OPTION)
    .option("--force", "over a gate, a window, a freeze or checks that failed; needs --reason")
    .option("--reason <text>", "why; goes into the journal")
    .option("--yes", "do not ask")
    .action((route: string, options: Access & Forced & { full?: boolean; step?: string }) =>
      act(options, io, done, (context) => commands.promote(context, route, options)),
    );
  remote(program, "rollback <route>", "everything back to stable, at once and without a question")
    .alias("abort")
    .option("--reason <code>", "why; goes into the journal", "manual")
    .action((route: string, options: ByHand) =>
      act(options, io, done, (context) => commands.rollback(context, route, options.reason)),
    );
}

function gateCommands(program: Command, io: Io, done: (exit: number) => void): void {
  const asOption = ["--as <role>", "in which role; left out: the only one that is missing"] as const;
  const collect = (item: string, items: readonly string[] = []): readonly string[] => [...items, item];
  remote(program, "approve <route>", "sign the gate of the present step")
    .option(...asOption)
    .option(...STEP_OPTION)
    .option("--check <item>", "an item of the checklist is done; repeatable; `all`", collect)
    .option("--reason <text>", "a comment; goes into the journal")
    .option("--yes", "do not ask")
    .action((route: string, options: Access & gates.ApproveOptions) =>
      act(options, io, done, (context) => gates.approve(context, route, options)),
    );
  remote(program, "reject <route>", "refuse the gate of the present step")
    .option(...asOption)
    .option(...STEP_OPTION)
    .option("--answer <what>", "hold, step-back, rollback, or how much longer, e.g. 24h", "hold")
    .requiredOption("--reason <text>", "why; goes into the journal")
    .action((route: string, options: Access & gates.RejectOptions) =>
      act(options, io, done, (context) => gates.reject(context, route, options)),
    );
  remote(program, "extend <route> <duration>", "more time at the present step")
    .option("--reason <text>", "why; goes into the journal", "manual")
    .action((route: string, by: string, options: ByHand) =>
      act(options, io, done, (context) => gates.extend(context, route, by, options.reason)),
    );
  remote(program, "step-back <route>", "back to the step before")
    .option("--reason <text>", "why; goes into the journal", "manual")
    .action((route: string, options: ByHand) =>
      act(options, io, done, (context) => gates.stepBack(context, route, options.reason)),
    );
  remote(program, "retry <route>", "again after a rollback, or the checks before a step once more")
    .option("--force", "during a cooldown; needs --reason")
    .option("--reason <text>", "why; goes into the journal")
    .option("--yes", "do not ask")
    .action((route: string, options: Access & Forced) =>
      act(options, io, done, (context) => gates.retry(context, route, options)),
    );
}

function replicaCommands(program: Command, io: Io, done: (exit: number) => void): void {
  const journal = remote(program, "journal", "who did what, when and why")
    .option("--route <name>", "only this route's lines")
    .option("--limit <count>", "the last so many lines", "50")
    .action((options: Access & { route?: string; limit: string }) =>
      act(options, io, done, (context) => commands.journal(context, options)),
    );
  remote(program, "report [route|id]", "the newest report, of a route when named, or the one with this id")
    .option("--markdown", "print Markdown, which it does unless told --json")
    .action((which: string | undefined, options: Access & ReportOptions) =>
      act(options, io, done, (context) => report(context, which, options)),
    );
  journal
    .command("verify [file]")
    .description(
      "check a journal's file from its first line to its last; left out: that of the state folder (exit 1: broken)",
    )
    .option("--against <backup>", "a backup's name or folder: the journal must go on from what it had then")
    .option("--backups <folder>", "folder of the backups (else that of the configuration; else ./backups)")
    .option("--state <folder>", "state folder of the proxy (SLUICE_STATE; else ./state)")
    .option("-c, --config <file>", "take the folders from this configuration")
    .option("--json", "print JSON")
    .action(async (file: string | undefined, options: Access & VerifyOptions) => {
      const config = await configOf(options);
      const named = file ?? join(stateFolderOf(options, io, config), "journal.jsonl");
      done(await verifyJournal(named, options, config, io));
    });
  remote(program, "reload", "have the running proxy read its configuration again").action((options: Access) =>
    act(options, io, done, commands.reload),
  );
}

function backupCommands(program: Command, io: Io, done: (exit: number) => void): void {
  remote(program, "backup", "copy the state, the configuration file and the journal's end, now")
    .option("--list", "make none, show those that there are")
    .option("--reason <text>", "why; part of its name", "manual")
    .action((options: Access & { list?: boolean; reason: string }) =>
      act(options, io, done, (context) =>
        options.list === true ? backups.list(context) : backups.make(context, options.reason),
      ),
    );
  remote(program, "restore <backup>", "put in force what a backup holds; lowers at once, raises nothing")
    .option("--force", "over a running rollout, or during a cooldown; needs --reason")
    .option("--reason <text>", "why; goes into the journal")
    .option("--yes", "do not ask")
    .option(
      "--offline",
      "into the state folder of a proxy that is stopped; --force: with the weights of then",
    )
    .option("--backups <folder>", "with --offline: where it is (else by the configuration; else ./backups)")
    .action((name: string, options: Access & backups.RestoreOptions & { offline?: boolean }) =>
      act(options, io, done, (context) =>
        options.offline === true
          ? restoreOffline(context, name, options)
          : backups.restore(context, name, options),
      ),
    );
}
