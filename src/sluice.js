#!/usr/bin/env node
// Plain JavaScript on purpose: an older Node cannot read what this file imports, and deserves a sentence instead of a stack trace.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(`sluice needs Node 22.19 or newer, this is ${process.versions.node}\n`);
  process.exit(2);
}
const { main } = await import("./main.ts");
process.exitCode = await main(process.argv.slice(2));
