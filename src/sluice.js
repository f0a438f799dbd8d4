#!/usr/bin/env node
// Plain JavaScript on purpose: an older Node cannot read what this file imports, and deserves a sentence instead of a stack trace.
const [major = 0, minor = 0, patch = 0] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(`sluice needs Node 22.19 or newer, this is ${process.versions.node}\n`);
  process.exit(2);
}
// The newest security release of each living line, as package.json's "engines" has it (SECURITY.md says what they mend).
const mended = new Map([
  [22, [23, 2]],
  [24, [18, 1]],
  [26, [5, 1]],
]);
const [minorNeeded = 0, patchNeeded = 0] = mended.get(major) ?? [major > 26 ? 0 : Infinity];
if (minor < minorNeeded || (minor === minorNeeded && patch < patchNeeded)) {
  process.stderr.write(
    `sluice: Node ${process.versions.node} has known security holes; run it on 22.23.2, 24.18.1, 26.5.1 or newer\n`,
  );
}
const { main } = await import("./main.ts");
process.exitCode = await main(process.argv.slice(2));
