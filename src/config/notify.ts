/** Who is told, over which channels, as the operator writes it. */

import { isIP } from "node:net";
import { z } from "zod";
import { bareHost } from "../domain/host.ts";
import { SEVERITIES } from "../domain/severity.ts";
import type { Severity } from "../domain/rollout-types.ts";
import { isRefused } from "./address.ts";
import type { SecretKind, SecretSource } from "./secret.ts";
import { secret, section } from "./shape.ts";
import { webUrl } from "./texts.ts";
import { duration } from "./units.ts";

const severity = z.enum(SEVERITIES as readonly [Severity, ...Severity[]]);

/** What every channel can be told. */
function common(severities: readonly Severity[], repeat: string, perMinute: number) {
  return {
    severities: z
      .array(severity)
      .min(1)
      .default([...severities])
      .meta({ description: "messages of these; who is told that an incident began is told of its end, too" }),
    repeat: duration.prefault(repeat).meta({
      description: "the same incident, while it is open, is not told again before this has passed",
    }),
    perMinute: z
      .int()
      .min(1)
      .max(1000)
      .default(perMinute)
      .meta({ description: "messages a minute at the most; what is beyond is told as one" }),
    allowPrivate: z.boolean().default(false).meta({
      description:
        "it may lead to link-local addresses and to those at which a cloud tells machines their credentials",
    }),
  };
}

const slackShape = z
  .strictObject({
    url: secret.optional().meta({
      description: "the URL of an incoming webhook, which is a secret itself; each message stands alone",
    }),
    token: secret.optional().meta({
      description:
        "a bot's token with the scope `chat:write`, in place of `url`: each rollout is one thread, whose first message is kept up to date",
    }),
    channel: z
      .string()
      .regex(/^[^\s\p{Cc}]{1,80}$/u, 'expected a channel, like "C0123456789" or "#deployments"')
      .optional()
      .meta({ description: "with `token`: where to", examples: ["C0123456789"] }),
    api: webUrl
      .default("https://slack.com/api")
      .meta({ description: "with `token`: where Slack's Web API is" }),
    ...common(["warning", "critical", "emergency"], "1h", 30),
  })
  .check((context) => {
    const { url, token, channel } = context.value;
    const refuse = (message: string, ...path: string[]): void => {
      context.issues.push({ code: "custom", message, path, input: context.value });
    };
    if (url === undefined && token === undefined)
      refuse("needs `url`, that of an incoming webhook, or `token` and `channel`");
    if (url !== undefined && token !== undefined)
      refuse("`url` and `token` are two ways to the same place: one of them", "token");
    if (token !== undefined && channel === undefined) refuse("`token` needs a `channel`");
    if (url !== undefined && channel !== undefined)
      refuse("an incoming webhook has its channel already: `channel` goes with `token`", "channel");
  })
  .meta({ description: "Slack: by a bot's token or an incoming webhook" });

const pagerdutyShape = z
  .strictObject({
    routingKey: secret.meta({ description: "the integration key of a service (Events API v2)" }),
    url: webUrl.default("https://events.pagerduty.com/v2/enqueue").meta({
      description: "where events go; in the EU service region `https://events.eu.pagerduty.com/v2/enqueue`",
    }),
    ...common(["critical", "emergency"], "1h", 30),
  })
  .meta({
    description: "PagerDuty: incidents, opened, acknowledged and resolved by the same key (Events API v2)",
  });

const mailAddress = z
  .string()
  .max(254)
  .regex(
    /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/,
    'expected a mail address, like "ops@app.example"',
  );
const mailAddresses = z.array(mailAddress).max(50);

const emailShape = z
  .strictObject({
    smtp: z
      .string()
      .regex(
        /^smtps?:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\/?$/,
        'expected "smtp://HOST:PORT" or "smtps://HOST:PORT", without user and password, which are secrets',
      )
      .refine((text) => URL.canParse(text), "the port is above 65535")
      .meta({
        description: "the mail server; `smtps` is encrypted from the first byte",
        examples: ["smtp://mail:25"],
      }),
    user: secret.optional().meta({ description: "as whom to log in" }),
    password: secret.optional().meta({ description: "its password" }),
    startTls: z.enum(["auto", "required", "off"]).default("auto").meta({
      description:
        "encryption over `smtp:`. `auto`: where the server has it, with any certificate; with a password only so, and the certificate must hold. `required`: always so",
    }),
    from: mailAddress.meta({ description: "the sender", examples: ["sluice@app.example"] }),
    to: mailAddresses
      .min(1)
      .meta({ description: "those who run the service", examples: [["ops@app.example"]] }),
    stakeholders: mailAddresses.default([]).meta({
      description: "those who are kept informed: notices before, digests, final reports; left out: `to`",
    }),
    digest: z
      .enum(["daily", "off"])
      .default("off")
      .meta({ description: "`daily`: where each rollout stands, once a day" }),
    ...common(["emergency"], "1h", 30),
  })
  .check((context) => {
    const { user, password } = context.value;
    if ((user === undefined) === (password === undefined)) return;
    const message = user === undefined ? "`password` needs a `user`" : "`user` needs a `password`";
    context.issues.push({ code: "custom", message, path: [], input: context.value });
  })
  .meta({ description: "mail as plain text; those of one rollout are one thread" });

const webhookShape = z
  .strictObject({
    url: webUrl.meta({ description: "where to POST" }),
    secret: secret.optional().meta({ description: "signs the message (Standard Webhooks)" }),
    ...common(SEVERITIES, "0s", 300),
  })
  .meta({ description: "one signed JSON POST per message" });

const alertmanagerShape = z
  .strictObject({
    url: webUrl
      .refine((text) => URL.parse(text)?.search === "", "expected a URL without a query")
      .meta({
        description: "Prometheus' Alertmanager, API v2, without `/api/v2/alerts`",
        examples: ["http://alertmanager:9093"],
      }),
    ...common(["warning", "critical", "emergency"], "0s", 300),
  })
  .meta({ description: "alerts that last as long as their incident" });

/** Who is told. */
export const notify = section(
  {
    console: webUrl.optional().meta({
      description: "where people see more; messages link to it",
      examples: ["https://sluice.app.example/"],
    }),
    slack: slackShape.optional(),
    pagerduty: pagerdutyShape.optional(),
    email: emailShape.optional(),
    webhook: webhookShape.optional(),
    alertmanager: alertmanagerShape.optional(),
  },
  "who is told",
).check((context) => {
  const { slack, pagerduty, email, webhook, alertmanager } = context.value;
  const literals = [
    ["slack", "api", slack?.api, slack],
    ["pagerduty", "url", pagerduty?.url, pagerduty],
    ["email", "smtp", email?.smtp, email],
    ["webhook", "url", webhook?.url, webhook],
    ["alertmanager", "url", alertmanager?.url, alertmanager],
  ] as const;
  for (const [name, key, url, channel] of literals) {
    const message = channel?.allowPrivate === false ? refusalOf(url ?? "") : undefined;
    if (message !== undefined)
      context.issues.push({ code: "custom", message, path: [name, key], input: url });
  }
});

/** Who is told, every default in place. */
export type NotifyConfig = z.output<typeof notify>;
/** What every channel has. */
export type ChannelConfig = Pick<
  NonNullable<NotifyConfig["webhook"]>,
  "severities" | "repeat" | "perMinute" | "allowPrivate"
>;

/** Why nothing is sent to this URL; undefined: its host is a name, which is judged when it is connected to, or an address to send to. */
export function refusalOf(url: string): string | undefined {
  const host = bareHost(URL.parse(url)?.hostname ?? "");
  if (isIP(host) === 0 || !isRefused(host)) return undefined;
  return `leads to ${host}, a link-local or metadata address, which is refused; \`allowPrivate: true\` would allow it`;
}

/** The channels that are configured, by name; with a severity those that are told of it. */
export function channelNames(
  { slack, pagerduty, email, webhook, alertmanager }: NotifyConfig,
  of?: Severity,
): readonly string[] {
  return Object.entries({ slack, pagerduty, email, webhook, alertmanager }).flatMap(([name, channel]) =>
    channel === undefined || (of !== undefined && !channel.severities.includes(of)) ? [] : [name],
  );
}

/** The secrets of the channels: path of each, source, and what it is for. */
export function notifySecrets({ slack, pagerduty, email, webhook }: NotifyConfig) {
  const named: readonly (readonly [string, string, SecretSource | undefined, SecretKind])[] = [
    ["slack", "url", slack?.url, slack?.allowPrivate === true ? "url" : "publicUrl"],
    ["slack", "token", slack?.token, "field"],
    ["pagerduty", "routingKey", pagerduty?.routingKey, "other"],
    ["email", "user", email?.user, "other"],
    ["email", "password", email?.password, "other"],
    ["webhook", "secret", webhook?.secret, "other"],
  ];
  return named.flatMap(([channel, key, source, kind]) =>
    source === undefined ? [] : [{ path: ["notify", channel, key], source, kind }],
  );
}
