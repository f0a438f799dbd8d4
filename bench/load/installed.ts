/** Which programs there are. */

import { spawnSync } from "node:child_process";

/** Whether a program can be started on this machine. */
export function isInstalled(program: string): boolean {
  return spawnSync(program, ["--version"], { stdio: "ignore", timeout: 5000 }).error === undefined;
}
