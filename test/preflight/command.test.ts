/** Programs of the operator's as checks: what counts, what they get, and that none outlives its time. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { millis } from "../../src/domain/units.ts";
import { createCommands, type CommandSpec, type Variables } from "../../src/preflight/command.ts";
import { fakeClock } from "../support/clock.ts";
import { pidIn, runs, until } from "../support/preflight.ts";

const NEVER = new AbortController().signal;

function commandsOf(t: Test, env: Variables = process.env) {
  const clock = fakeClock();
  const commands = createCommands(clock, env);
  t.teardown(() => commands.close());
  const run = (
    argv: readonly string[],
    {
      own = {},
      signal = NEVER,
      ...spec
    }: Partial<CommandSpec> & { own?: Variables; signal?: AbortSignal } = {},
  ) => commands.run({ run: argv, env: [], timeout: millis(30_000), ...spec }, own, signal);
  return { clock, commands, run };
}

const node = (script: string): readonly string[] => [process.execPath, "-e", script];

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-command-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test("exit code 0 holds and any other does not, with the last line that it printed", async (t) => {
  const { run, clock } = commandsOf(t);
  t.same(await run(node("console.log('one\\ntwo\\n\\n')")), { ok: true, detail: "exit code 0: two" });
  t.same(await run(node("console.error('3 are missing'); process.exit(3)")), {
    ok: false,
    detail: "exit code 3: 3 are missing",
  });
  t.same(await run(node("")), { ok: true, detail: "exit code 0" });
  t.same(await run(node("process.kill(process.pid, 'SIGKILL')")), { ok: false, detail: "SIGKILL" });
  t.equal(clock.timers, 0);
});

t.test("a program that cannot be started has failed, whatever is wrong with it", async (t) => {
  const { run } = commandsOf(t);
  t.same(await run(["/no/such/program"]), { ok: false, detail: "cannot be started: ENOENT" });
  t.match(await run([tmpdir()]), { ok: false, detail: /^cannot be started: EACCES/ });
  t.match(await run(["true"], { own: { SLUICE_VERSION: "a\0b" } }), {
    ok: false,
    detail: /cannot be started/,
  });
});

t.test("arguments are arguments: no shell reads them", async (t) => {
  const { run } = commandsOf(t);
  const argv = ["$(id)", "; exit 1", "`id`", "*"];
  const { detail } = await run([...node("console.log(JSON.stringify(process.argv.slice(1)))"), ...argv]);
  t.equal(detail, `exit code 0: ${JSON.stringify(argv)}`);
});

/** What the test runner slips into the environment of whatever a test starts is left out: a replacer for JSON. */
const NOT_THE_RUNNER_S = "(name, value) => (/TAPJS|^NODE_/.test(name) ? undefined : value)";

t.test("it gets the few variables that it may have, and none of the others", async (t) => {
  const env = {
    PATH: "/bin",
    HOME: "/home/o",
    KUBECONFIG: "/k",
    AWS_SECRET_ACCESS_KEY: "s3cret",
    SLUICE_TOKEN: "t",
  };
  const { run } = commandsOf(t, env);
  const { detail } = await run(node(`console.log(JSON.stringify(process.env, ${NOT_THE_RUNNER_S}))`), {
    env: ["KUBECONFIG", "NOT_SET"],
    own: { SLUICE_ROUTE: "app", SLUICE_VERSION: "4.0" },
  });
  t.same(JSON.parse(detail.replace("exit code 0: ", "")), {
    PATH: "/bin",
    HOME: "/home/o",
    KUBECONFIG: "/k",
    SLUICE_ROUTE: "app",
    SLUICE_VERSION: "4.0",
  });
});

t.test("what it prints is kept to its end, and drives no terminal", async (t) => {
  const { run } = commandsOf(t);
  const flood =
    "process.stdout.write('x'.repeat(5e6) + '\\n\\u001b[2Jfirst\\u0007 line\\n', () => process.exit(1))";
  t.same(await run(node(flood)), { ok: false, detail: "exit code 1: [2Jfirst  line" });
  const { detail } = await run(node("process.stdout.write('y'.repeat(5e6))"));
  t.ok(detail.length < 300, "nor is a line without an end");
});

t.test("a program that hangs is told to end, and reported at its time-out", async (t) => {
  const { run, clock } = commandsOf(t);
  const file = join(folderOf(t), "pid");
  const found = run(
    node(
      `require('fs').writeFileSync(${JSON.stringify(file)}, String(process.pid)); setInterval(() => {}, 1e3)`,
    ),
  );
  const pid = await pidIn(file);
  await clock.advance("30s");
  t.same(await found, { ok: false, detail: "did not end within 30s" });
  await until(() => !runs(pid));
});

t.test(
  "a program that forks, ignores being told and hangs holds nothing up and leaves nothing behind",
  async (t) => {
    const { run, clock } = commandsOf(t);
    const folder = folderOf(t);
    const [parent, child] = [join(folder, "parent"), join(folder, "child")];
    const deaf = (file: string): string =>
      `process.on('SIGTERM', () => {}); require('fs').writeFileSync(${JSON.stringify(file)}, String(process.pid)); setInterval(() => {}, 1e3);`;
    const script = `${deaf(parent)} require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(deaf(child))}], { stdio: 'inherit' })`;
    const found = run(node(script));
    const pids = [await pidIn(parent), await pidIn(child)];
    await clock.advance("30s");
    t.match(await found, { ok: false, detail: /^did not end within 30s/ }, "reported before it is gone");
    t.ok(pids.every(runs), "told, and deaf");
    await clock.advance("2s");
    await until(() => !pids.some(runs));
    await until(() => clock.timers === 0);
  },
);

t.test("what a program leaves running in the background ends with it", async (t) => {
  const { run } = commandsOf(t);
  const file = join(folderOf(t), "pid");
  const found = await run(["sh", "-c", `sleep 1000 & echo $! > ${file}; echo started`]);
  t.same(found, { ok: true, detail: "exit code 0: started" });
  const pid = await pidIn(file);
  await until(() => !runs(pid));
});

t.test(
  "whoever leaves the group and keeps the output open delays the result by a second, no longer",
  async (t) => {
    const { run, clock } = commandsOf(t);
    const file = join(folderOf(t), "pid");
    const away = `require('child_process').spawn('sleep', ['1000'], { detached: true, stdio: 'inherit' })`;
    const found = run(
      node(
        `const away = ${away}; require('fs').writeFileSync(${JSON.stringify(file)}, String(away.pid)); process.exit(0)`,
      ),
      { timeout: millis(86_400_000) },
    );
    const pid = await pidIn(file);
    t.teardown(() => process.kill(pid, "SIGKILL"));
    const settled: string[] = [];
    void found.then(({ detail }) => settled.push(detail));
    while (settled.length === 0) {
      await clock.advance("100ms");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    t.match(await found, { ok: true });
  },
);

t.test("when the program stops, so does what it has started, the hard way", async (t) => {
  const { run, commands } = commandsOf(t);
  const file = join(folderOf(t), "pid");
  const deaf = `process.on('SIGTERM', () => {}); require('fs').writeFileSync(${JSON.stringify(file)}, String(process.pid)); setInterval(() => {}, 1e3)`;
  const found = run(node(deaf));
  const pid = await pidIn(file);
  commands.close();
  t.same(await found, { ok: false, detail: "SIGKILL" });
  t.notOk(runs(pid));
});

t.test("a check that nobody waits for any longer ends its program", async (t) => {
  const { run } = commandsOf(t);
  const file = join(folderOf(t), "pid");
  const ended = new AbortController();
  const found = run(["sh", "-c", `echo $$ > ${file}; exec sleep 1000`], { signal: ended.signal });
  const pid = await pidIn(file);
  ended.abort();
  t.same(await found, { ok: false, detail: "was ended" });
  await until(() => !runs(pid));
  t.match(await run(["true"], { signal: ended.signal }), { ok: false }, "nor does one begin");
});
