/** A child process that writes in a loop and says so, until it is killed in the middle. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/**
 * Runs `script` with `args`, waits until it has written `lines` lines, kills it with SIGKILL, and resolves with everything it wrote, which may be more.
 * Rejects when it ends by itself before that.
 */
export function killAfter(
  script: string,
  args: readonly string[],
  lines: number,
): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    const written: string[] = [];
    createInterface(child.stdout).on("line", (line) => {
      written.push(line);
      if (written.length === lines) child.kill("SIGKILL");
    });
    child.on("error", reject);
    child.on("close", (_code, signal) => {
      if (signal === "SIGKILL") resolve(written);
      else reject(new Error(`${script} ended by itself after ${written.length} lines`));
    });
  });
}

/** Runs `script` to its end and resolves with the lines it wrote. Rejects when it fails. */
export function runToEnd(script: string, args: readonly string[]): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    const written: string[] = [];
    createInterface(child.stdout).on("line", (line) => written.push(line));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(written);
      else reject(new Error(`${script} failed with ${code}`));
    });
  });
}
