/**
 * The program as a careful operator runs it: a user that is not root, without a single right of root's, on a file system of which nothing can be
 * written but the folders that are named.
 */

import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { watched } from "./program.ts";

const ENTRY = fileURLToPath(new URL("../../src/sluice.js", import.meta.url));
/** That of the image; no such user needs to exist. */
export const CONFINED_UID = 65_532;

/** Makes a mount of each folder that may be written, everything else read-only, and becomes nobody in particular. */
const SCRIPT = `
set -eu
uid="$1"; entry="$2"; node="$3"; config="$4"; shift 4
mount --make-rprivate /
for folder in "$@"; do mount --bind "$folder" "$folder"; done
awk '{ print $5 }' /proc/self/mountinfo | while read -r escaped; do
  point="$(printf '%b' "$escaped")"
  case "$point" in /proc|/proc/*|/sys|/sys/*|/dev|/dev/pts|/dev/mqueue) continue;; esac
  for folder in "$@"; do [ "$point" = "$folder" ] && continue 2; done
  mount -o remount,bind,ro "$point"
done
for folder in / /tmp "\${HOME:-/}" "$(dirname "$config")"; do
  if touch "$folder/.sluice-trial" 2>/dev/null; then rm "$folder/.sluice-trial"; echo "$folder can still be written" >&2; exit 96; fi
done
# An environment of its own: what the test runner adds to one would have it write too.
exec env -i PATH="$PATH" NO_COLOR=1 setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \\
  "$node" "$entry" run -c "$config"
`;

/** A process and what it has said. */
export interface Confined {
  readonly pid: number;
  readonly output: () => string;
  /** Resolves with the match once the output has it; rejects when the process ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<number | null>;
}

/** Why this machine cannot do it; false when it can. */
export function cannotConfine(): string | false {
  if (process.getuid?.() !== 0)
    return "only root may mount: the read-only root file system is not tried here";
  if (spawnSync("unshare", ["-m", "true"]).status !== 0)
    return "no mount namespace of its own here: the read-only root file system is not tried";
  const id = String(CONFINED_UID);
  const reads = ["--reuid", id, "--regid", id, "--clear-groups", "test", "-r", ENTRY];
  if (spawnSync("setpriv", reads).status !== 0)
    return "another user cannot read this checkout: the read-only root file system is not tried";
  return false;
}

/** `sluice run -c config`, confined; `writable` are folders that exist. */
export function confined(config: string, writable: readonly string[]): Confined {
  const args = [String(CONFINED_UID), ENTRY, process.execPath, config, ...writable];
  const child = spawn("unshare", ["-m", "sh", "-c", SCRIPT, "sluice", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { pid: child.pid ?? 0, signal: (name) => void child.kill(name), ...watched(child) };
}

/** A field of what the kernel says of a process, e.g. `CapEff`. */
export function kernelSays(pid: number, field: string): string {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${field}:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
}
