/** Who may be told, as the file says it: what is missing, what leads where nothing is to be sent, and what a secret must hold. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { effective, loadConfig, parseConfig } from "../../src/config/load.ts";
import { channelNames } from "../../src/config/notify.ts";

/** A whole configuration with one channel, whose mapping starts at line 6, column 10 or so. */
function withChannel(channel: string): string {
  return `routes:
  - name: app
    stable: { endpoints: ["http://10.0.0.1:8080"] }
    canary: { endpoints: ["http://10.0.0.2:8080"] }
notify:
  ${channel}
`;
}

function problems(channel: string): readonly string[] {
  const parsed = parseConfig(withChannel(channel), "f.yaml");
  return parsed.ok ? [] : parsed.problems.map((each) => `${each.line}:${each.column} ${each.message}`);
}

const REFUSED = "a link-local or metadata address, which is refused; `allowPrivate: true` would allow it";

t.test("a notifier without its secret is refused by line and column", async (t) => {
  t.same(problems("pagerduty: {}"), ["6:14 missing key `routingKey`"]);
  t.match(problems("pagerduty: { routingKey: 0123456789abcdef }"), [/^6:28 expected where the secret is/]);
  t.same(problems("slack: {}"), ["6:10 needs `url`, that of an incoming webhook, or `token` and `channel`"]);
  t.same(problems("slack: { token: { env: A } }"), ["6:10 `token` needs a `channel`"]);
  t.match(problems("slack: { url: { env: A }, token: { env: B }, channel: c }"), [
    /^6:36 `url` and `token`/,
    /channel/,
  ]);
  t.match(problems("slack: { url: https://hooks.slack.com/services/T0 }"), [
    /^6:17 expected where the secret is/,
  ]);
  const mail = "smtp: smtp://mail:25, from: a@b.example, to: [c@d.example]";
  t.same(problems(`email: { ${mail}, user: { env: A } }`), ["6:10 `user` needs a `password`"]);
  t.same(problems(`email: { ${mail}, password: { env: A } }`), ["6:10 `password` needs a `user`"]);
  t.match(problems(`email: { ${mail.replace("mail:", "a:b@mail:")} }`), [
    /^6:18 expected "smtp:\/\/HOST:PORT"/,
  ]);
  t.match(problems(`email: { ${mail.replace("c@d.example", '"c@d.example\\r\\nBcc: e@f.example"')} }`), [
    /expected a mail address/,
  ]);
});

t.test(
  "a channel that leads to a link-local or metadata address is refused by line and column, unless it is allowed",
  async (t) => {
    const mail = (smtp: string): string => `email: { smtp: "${smtp}", from: a@b.example, to: [c@d.example] }`;
    for (const [channel, expected] of [
      ["webhook: { url: http://169.254.169.254/latest }", `6:19 leads to 169.254.169.254, ${REFUSED}`],
      ["webhook: { url: http://0xa9fea9fe/ }", `6:19 leads to 169.254.169.254, ${REFUSED}`],
      ["webhook: { url: 'http://[fe80::1]/' }", `6:19 leads to fe80::1, ${REFUSED}`],
      ["alertmanager: { url: http://100.100.100.200:9093 }", `6:24 leads to 100.100.100.200, ${REFUSED}`],
      [
        "pagerduty: { routingKey: { env: A }, url: http://169.254.1.1/ }",
        `6:45 leads to 169.254.1.1, ${REFUSED}`,
      ],
      [
        "slack: { token: { env: A }, channel: c, api: http://169.254.1.1/ }",
        `6:48 leads to 169.254.1.1, ${REFUSED}`,
      ],
      [mail("smtp://169.254.1.1:25"), `6:18 leads to 169.254.1.1, ${REFUSED}`],
      [mail("smtps://[fd00:ec2::254]"), `6:18 leads to fd00:ec2::254, ${REFUSED}`],
    ] as const)
      t.same(problems(channel), [expected], channel);
    t.same(problems("webhook: { url: http://169.254.169.254/latest, allowPrivate: true }"), []);
    t.same(problems("webhook: { url: http://127.0.0.1/ }"), [], "loopback is where receivers often are");
  },
);

t.test(
  "a secret that is a URL must be one, and lead to where something may be sent; a token must fit into a header",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-notify-config-"));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "f.yaml");
    const refusalOf = async (channel: string, value: string | undefined): Promise<string> => {
      writeFileSync(file, withChannel(channel));
      return loadConfig(file, { S: value }).then(
        () => "",
        (error: unknown) => (error instanceof Error ? error.message.slice(file.length + 1) : ""),
      );
    };
    const hook = "slack: { url: { env: S } }";
    t.equal(await refusalOf(hook, undefined), "6:17: the environment variable S is not set");
    t.equal(await refusalOf(hook, "hunter2"), "6:17: the environment variable S holds no http or https URL");
    t.equal(
      await refusalOf(hook, "http://169.254.169.254/hunter2"),
      `6:17: the environment variable S leads to 169.254.169.254, ${REFUSED}`,
    );
    t.equal(
      await refusalOf("slack: { url: { env: S }, allowPrivate: true }", "http://169.254.169.254/hunter2"),
      "",
    );
    t.equal(await refusalOf(hook, "https://hooks.slack.com/services/T0/B0/x"), "");
    t.match(
      await refusalOf("slack: { token: { env: S }, channel: c }", "xoxb-1\nx"),
      /6:19: .*no header can carry/,
    );
  },
);

t.test("the configuration of product.md is taken, and what is left out has its default", async (t) => {
  const parsed = parseConfig(
    withChannel(`slack: { url: { env: SLACK_WEBHOOK },  severities: [warning, critical, emergency] }
  pagerduty: { routingKey: { env: PD_KEY },  severities: [critical, emergency] }
  email: { smtp: smtp://mail:25, from: sluice@app.example, to: [ops@app.example], severities: [emergency], digest: daily }
  webhook: { url: https://hooks.example/, secret: { env: HOOK_SECRET } }
  alertmanager: { url: http://alertmanager:9093 }`),
    "f.yaml",
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const { notify } = parsed.config;
  t.same(channelNames(notify), ["slack", "pagerduty", "email", "webhook", "alertmanager"]);
  t.same(channelNames(notify, "warning"), ["slack", "webhook", "alertmanager"], "what the dry run says");
  t.match(notify, {
    pagerduty: { url: "https://events.pagerduty.com/v2/enqueue", repeat: 3_600_000, perMinute: 30 },
    email: { startTls: "auto", digest: "daily" },
    webhook: { severities: ["info", "warning", "critical", "emergency"], allowPrivate: false },
  });
  t.same(notify.email?.stakeholders, []);
  t.match(effective(parsed.config), { notify: { slack: { repeat: "1h" } } });
});
