/** The channels that a configuration names, and the fan-out to them. What a channel brings along is only loaded where it is configured. */

import type { Lookup } from "../config/address.ts";
import type { ChannelConfig, NotifyConfig } from "../config/notify.ts";
import type { Secret, SecretSource } from "../config/secret.ts";
import type { Audience, Clock, Log, Outbox } from "../engine/ports.ts";
import type { Channel, Interest } from "./channel.ts";
import { createFanout, type Fanout } from "./fanout.ts";
import { logChannel } from "./lines.ts";
import type { Sender } from "./post.ts";

/** What it takes. */
export interface NotifierOptions {
  readonly config: { readonly environment: string; readonly notify: NotifyConfig };
  readonly secretOf: (source: SecretSource) => Secret;
  readonly outbox: Outbox;
  readonly lookup: Lookup;
  readonly clock: Clock;
  readonly log: Log;
}

/** The fan-out, and the channels that are configured: that of the log, which needs no trial, is not among them. */
export async function openNotifier(
  options: NotifierOptions,
): Promise<{ readonly fanout: Fanout; readonly channels: readonly Channel[] }> {
  const { clock, log, outbox } = options;
  const channels = await channelsOf(options);
  const fanout = createFanout([logChannel(log), ...channels], { log, outbox, wall: () => clock.wall() });
  return { fanout, channels };
}

async function channelsOf(options: NotifierOptions): Promise<readonly Channel[]> {
  const { config, secretOf, outbox, clock, log } = options;
  const { slack, pagerduty, email, webhook, alertmanager, console } = config.notify;
  const revealed = (source: SecretSource): string => secretOf(source).reveal();
  const shared = { environment: config.environment, console, clock, outbox, log };
  const found: Channel[] = [];
  if (slack !== undefined) {
    const { slackChannel } = await import("./slack.ts");
    const { url, token, channel = "", api } = slack;
    const to =
      token === undefined
        ? { url: url === undefined ? "" : revealed(url) }
        : { api, token: revealed(token), channel };
    found.push(slackChannel({ ...shared, to, ...(await overHttp(slack, options)) }));
  }
  if (pagerduty !== undefined) {
    const { pagerDutyChannel } = await import("./pagerduty.ts");
    const to = { url: pagerduty.url, routingKey: revealed(pagerduty.routingKey) };
    found.push(pagerDutyChannel({ ...shared, ...to, ...(await overHttp(pagerduty, options)) }));
  }
  if (email !== undefined) {
    const { emailChannel } = await import("./email.ts");
    const { user, password, digest, ...rest } = email;
    const login =
      user === undefined || password === undefined
        ? undefined
        : { user: revealed(user), pass: revealed(password) };
    const told = toldOf(email, ["operators", "stakeholders"], digest === "daily");
    found.push(emailChannel({ ...shared, ...rest, login, lookup: options.lookup, ...told }));
  }
  if (webhook !== undefined) {
    const { webhookChannel } = await import("./webhook.ts");
    const secret = webhook.secret === undefined ? undefined : revealed(webhook.secret);
    const http = await overHttp(webhook, options, ["operators", "stakeholders"]);
    found.push(webhookChannel({ ...shared, url: webhook.url, secret, ...http }));
  }
  if (alertmanager !== undefined) {
    const { alertmanagerChannel } = await import("./alertmanager.ts");
    const url = alertmanager.url.replace(/\/+$/, "");
    found.push(alertmanagerChannel({ ...shared, url, ...(await overHttp(alertmanager, options)) }));
  }
  return found;
}

/** What a channel is told. Programs are told all there is, people who are called only what concerns them. */
function toldOf(
  { severities, repeat: repeatMs, perMinute }: ChannelConfig,
  audiences: readonly Audience[],
  digest: boolean,
): { readonly interest: Interest; readonly perMinute: number } {
  return { interest: { severities, audiences, repeatMs, digest }, perMinute };
}

async function overHttp(
  config: ChannelConfig,
  { lookup, clock }: NotifierOptions,
  audiences: readonly Audience[] = ["operators"],
): Promise<ReturnType<typeof toldOf> & { readonly sender: Sender }> {
  const { createSender } = await import("./post.ts");
  const { allowPrivate } = config;
  const sender = createSender({ lookup, allowPrivate, wall: () => clock.wall() });
  return { sender, ...toldOf(config, audiences, audiences.includes("stakeholders")) };
}
