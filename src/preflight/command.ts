/**
 * A program of the operator's as a check: exit code 0 means that it holds.
 *
 * Started without a shell, in a process group of its own, with few variables of the environment. It promises that nothing of it outlives the check: when its
 * time is over the group is asked to end (SIGTERM) and then made to (SIGKILL), and what a program that has ended leaves running is ended too. Only who leaves
 * the group on purpose (`setsid`) gets away; it holds nothing up even then. Of what it prints the end is kept.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { formatDuration, millis, type Millis } from "../domain/units.ts";
import type { Clock } from "../engine/ports.ts";
import { after, detailOf, fails, holds, plainOf, type Finding } from "./limit.ts";

/** What to run. */
export interface CommandSpec {
  /** Program and arguments. */
  readonly run: readonly string[];
  /** Names of further variables to hand on. */
  readonly env: readonly string[];
  readonly timeout: Millis;
}

/** The variables of a process. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** Programs under way. */
export interface Commands {
  /** Runs one. Never rejects. `own`: variables that it gets beside those handed on. `signal` ends it as its time-out does. */
  run(spec: CommandSpec, own: Variables, signal: AbortSignal): Promise<Finding>;
  /** Ends all of them, now and the hard way. */
  close(): void;
}

/** Variables that are handed on: what a program needs to find others and to speak the operator's language. */
const HARMLESS = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/** Between being asked to end and being made to: ms. */
const GRACE_MS = millis(2000);
/** How long the output of a program that has ended is waited for: ms. */
const DRAIN_MS = millis(1000);
const MOST_OUTPUT = 4096;

/** Runs programs. `env`: the variables of this process. */
export function createCommands(clock: Clock, env: Variables): Commands {
  const groups = new Set<ChildProcess>();
  return {
    run(spec, own, signal) {
      const handed = [...HARMLESS, ...spec.env].map((name) => [name, env[name]] as const);
      const variables = { ...Object.fromEntries(handed.filter(([, value]) => value !== undefined)), ...own };
      return new Promise((resolve) => {
        try {
          const [program = "", ...rest] = spec.run;
          const child = spawn(program, rest, {
            detached: true,
            stdio: ["ignore", "pipe", "pipe"],
            env: variables,
          });
          groups.add(child);
          child.on("exit", () => groups.delete(child));
          child.on("error", () => groups.delete(child));
          watch(child, spec.timeout, clock, signal, resolve);
        } catch (error) {
          resolve(fails(`cannot be started: ${detailOf(error)}`));
        }
      });
    },
    close() {
      for (const child of groups) signalGroup(child, "SIGKILL");
    },
  };
}

function watch(
  child: ChildProcess,
  timeout: Millis,
  clock: Clock,
  signal: AbortSignal,
  settle: (finding: Finding) => void,
): void {
  let said = "";
  const hear = (chunk: Buffer): void => void (said = (said + chunk.toString("latin1")).slice(-MOST_OUTPUT));
  for (const output of [child.stdout, child.stderr]) output?.on("data", hear).on("error", () => {});

  const stopTimer = after(clock, timeout, () => end(`did not end within ${formatDuration(timeout)}`));
  const onAbort = (): void => end("was ended");
  let stopKill = (): void => {};
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  child.on("error", (error) => finish(() => fails(`cannot be started: ${detailOf(error)}`)));
  child.on("exit", (code, by) => {
    finish(() => (code === 0 ? holds(told("exit code 0")) : fails(told(by ?? `exit code ${code}`))));
  });

  function told(what: string): string {
    const last = lastLine(said);
    return last === "" ? what : `${what}: ${last}`;
  }

  function end(why: string): void {
    stopWaiting();
    signalGroup(child, "SIGTERM");
    stopKill = after(clock, GRACE_MS, () => signalGroup(child, "SIGKILL"));
    // Nobody waits for how it takes it.
    settle(fails(told(why)));
  }

  function stopWaiting(): void {
    stopTimer();
    signal.removeEventListener("abort", onAbort);
  }

  /** The first process of the group is gone, or never came. */
  function finish(found: () => Finding): void {
    stopWaiting();
    stopKill();
    signalGroup(child, "SIGKILL");
    const letGo = (): void => {
      stopDrain();
      child.stdout?.destroy();
      child.stderr?.destroy();
      settle(found());
    };
    // Whoever left the group may hold the pipes open for ever.
    const stopDrain = after(clock, DRAIN_MS, letGo);
    child.on("close", letGo);
  }
}

/** Sends a signal to the whole group, if any of it is left. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone.
  }
}

function lastLine(said: string): string {
  const lines = Buffer.from(said, "latin1")
    .toString("utf8")
    .split(/[\r\n]+/);
  return plainOf(lines.findLast((each) => each.trim() !== "") ?? "");
}
