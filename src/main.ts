/**
 * The program: the command line, signals, the exit code. Reads from top to
 * bottom; what is built is in `start.ts`, which is only read when something is to be started: `sluice status` does not wait for a proxy to load.
 */

import { createInterface } from "node:readline/promises";
import type { Io } from "./cli/io.ts";
import { runCli, type DemoOptions } from "./cli/main.ts";
import { loadConfig } from "./config/load.ts";
import { watchConfig } from "./config/watch.ts";
import { codeOf } from "./domain/errors.ts";
import type { Log } from "./engine/ports.ts";
import { clock, dice, openFilesLimit } from "./platform.ts";
import type { Running } from "./start.ts";
import { LOG_LEVELS, createLog } from "./telemetry/log.ts";

/** So much of the log, and of the access log, waits for a reader that stalls: bytes. */
const MOST_WAITING = 16 * 2 ** 20;
/** So long the last lines may take to be read: ms. */
const FLUSH_MS = 2000;

/** Runs the command line; resolves the exit code (product.md §4). */
export function main(argv: readonly string[]): Promise<number> {
  const io = terminal();
  const programs = {
    run: ({ config }: { readonly config: string }) => serve(config, io),
    async demo(options: DemoOptions) {
      const [{ start }, { runDemo }] = await Promise.all([import("./start.ts"), import("./demo/demo.ts")]);
      return runDemo({
        start: (needs) => start({ log: silent(), ...needs, clock, dice }),
        io,
        clock,
        dice,
        options,
      });
    },
  };
  return runCli(argv, programs, io);
}

/** `sluice run`: serves until a signal or the admin API ends it. */
async function serve(file: string, io: Io): Promise<number> {
  // Whoever reads the log may go, and its disk may be full: that is no reason to serve nobody.
  process.stdout.removeAllListeners("error").on("error", () => {});
  const log = createLog(unlessStalled, clock, levelOf(io.env["SLUICE_LOG_LEVEL"]));
  const reread = () => loadConfig(file, io.env);
  const { later, start } = await import("./start.ts");
  // Before anything serves: a signal that comes early must not find the platform's default, which is to die.
  const asked = signalled();
  const ready = later<Running>();
  process.on("SIGHUP", () => void ready.promise.then((running) => running.reload("SIGHUP")));
  const { env } = io;
  const running = await start({
    ...(await reread()),
    clock,
    dice,
    log,
    reread,
    env,
    write: written,
    files: openFilesLimit(),
  });
  ready.resolve(running);
  const watch = await watchConfig(file, async () => void (await running.reload("file")), {
    onError: (error) => log.warn("the configuration's folder cannot be watched", { detail: error.message }),
  });
  const why = await Promise.race([asked, running.drainAsked.then(() => "admin")]);
  // Before anybody is told: whoever reads it may send the second signal at once.
  process.once("SIGTERM", () => process.exit(1)).once("SIGINT", () => process.exit(1));
  log.info("draining", { why });
  watch.close();
  return ended(running, log);
}

async function ended(running: Running, log: Log): Promise<number> {
  const { cut } = await running.stop();
  if (cut > 0) log.warn("cut what did not finish in time", { exchanges: cut });
  log.info("stopped", { cut });
  const code = cut > 0 ? 1 : 0;
  // Output that nobody reads keeps a process alive.
  setTimeout(() => process.exit(code), FLUSH_MS).unref();
  return code;
}

/** Says a line of the log, and forgets it where so much waits for a reader that stalls. */
function unlessStalled(line: string): void {
  if (process.stdout.writableLength < MOST_WAITING) process.stdout.write(line);
}

/** Resolves when the system has taken the text: a reader that stalls is waited for by whoever has more to say. */
function written(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error instanceof Error ? reject(error) : resolve()));
  });
}

function signalled(): Promise<string> {
  return new Promise((resolve) => {
    process.once("SIGTERM", resolve).once("SIGINT", resolve);
  });
}

function levelOf(name: string | undefined): (typeof LOG_LEVELS)[number] {
  return LOG_LEVELS.find((level) => level === name) ?? "info";
}

function silent(): Log {
  return createLog(() => {}, clock, "silent");
}

function terminal(): Io {
  // Whoever read the output has gone (`sluice journal | head`): what they did not want is no failure of ours.
  process.stdout.on("error", (error) => {
    if (codeOf(error) === "EPIPE") process.exit();
    throw error;
  });
  return {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    env: process.env,
    isTTY: process.stdin.isTTY && process.stdout.isTTY,
    get stdin() {
      return process.stdin;
    },
    columns: process.stdout.columns || 100,
    rows: process.stdout.rows || undefined,
    now: () => clock.wall(),
    async ask(question) {
      const lines = createInterface({ input: process.stdin, output: process.stdout });
      try {
        return await lines.question(question);
      } finally {
        lines.close();
      }
    },
  };
}
