/** An example or two of each command, shown under its help. A test holds that each can be typed. */

/** By the command's words. */
export const EXAMPLES: Readonly<Record<string, readonly (readonly [typed: string, about: string])[]>> = {
  run: [["sluice run -c config/minimal.yaml", "until SIGTERM, which drains"]],
  check: [["sluice check -c sluice.yaml --skip-secrets", "in a pipeline that has none of the secrets"]],
  demo: [["sluice demo --break", "watch a rollback without setting anything up"]],
  backtest: [
    ["sluice backtest --plan safe -c sluice.yaml --log access.log.gz", "what the plan would have done"],
    [
      'sluice backtest --plan fast --rps 20 --duration 6h --fault "errors=2% from=1h"',
      "over a made-up world",
    ],
  ],
  plan: [
    ["sluice plan app", "from what is measured now"],
    ["sluice plan -c config/safe.yaml --rps 20 --start 2026-12-01T09:00Z", "from the file alone"],
  ],
  preflight: [["sluice preflight app --version 4.0.0", "exit code 1: something that must hold does not"]],
  drill: [
    ["sluice drill app --reason weekly", "prove the way back, beside the users' traffic"],
    ["sluice drill app --list", "what the drills before came to"],
  ],
  deploy: [
    ["sluice deploy app --strategy safe --version 4.0.0 --reason CHG-1234", "asks for the word yes"],
    [
      "sluice deploy app --steps 0,5,25,100 --hold 10m --yes --follow --timeout 1h",
      "for a pipeline: exits by how it ended",
    ],
    ["sluice deploy app --strategy safe --dry-run", "only say what would come of it"],
  ],
  status: [
    ["sluice status app", "one route in full"],
    ["sluice status app --watch --timeout 30m", "for a pipeline: exits by how it ended"],
  ],
  "set-weight": [["sluice set-weight app 5 --reason 'look at it by hand'", "rollback stays armed"]],
  pause: [["sluice pause app --reason 'looking at a report'", "holds the weight"]],
  resume: [["sluice resume app", "go on"]],
  promote: [["sluice promote app --step 1", "only if it is still at the step with index 1"]],
  rollback: [["sluice rollback app --reason wrong-prices", "at once, without a question"]],
  approve: [["sluice approve app --as on-call --check all --yes", "signs, and says that the list is done"]],
  reject: [["sluice reject app --answer hold --reason 'waiting for a report'", "no, and what instead"]],
  extend: [["sluice extend app 24h --reason 'one more night'", "a longer hold"]],
  "step-back": [["sluice step-back app --reason 'too much at once'", "to the weight before"]],
  alerts: [["sluice alerts app", "what is open; exit 3 while nobody has acknowledged it"]],
  acknowledge: [["sluice acknowledge app --reason 'on it'", "it is neither repeated nor escalated"]],
  silence: [
    [
      "sluice silence app --for 2h --severity warning --reason 'load test'",
      "mutes messages, never a rollback",
    ],
  ],
  silences: [["sluice silences app", "what is muted, until when, and why"]],
  unsilence: [["sluice unsilence ID", "with an id that `silences` shows"]],
  retry: [["sluice retry app --reason 'the cause is mended'", "after a rollback, from step 0"]],
  health: [["sluice health", "exit code 1: something is not well"]],
  replicas: [["sluice replicas", "exit code 1: one of them is silent"]],
  journal: [["sluice journal --route app --limit 20", "the last lines about one route"]],
  "journal verify": [["sluice journal verify --state ./state", "nobody has changed a line"]],
  report: [["sluice report app --markdown", "the newest, to be read"]],
  reload: [["sluice reload", "a bad file leaves the good one in force"]],
  backup: [["sluice backup --list", "those that there are"]],
  restore: [["sluice restore NAME --reason 'state was lost'", "lowers at once, raises nothing"]],
  emergency: [
    [
      "sluice emergency on --reason 'leaking data'",
      "every route: the configured answer, or everything to stable",
    ],
    ["sluice emergency off app --reason 'it is mended'", "one route; asks for the word yes"],
  ],
  "read-only": [["sluice read-only on --reason 'the database moves'", "writes get 503"]],
  maintenance: [["sluice maintenance on --reason 'moving house'", "everybody gets 503"]],
  incident: [["sluice incident list", "those that are open, newest first"]],
  "incident list": [["sluice incident list --json", "for a program"]],
  "incident resolve": [["sluice incident resolve ID --reason 'the cause is mended'", "no more updates"]],
  flags: [["sluice flags list", "every flag, and what it is for whom"]],
  "flags list": [["sluice flags list --json", "for a program"]],
  "flags get": [["sluice flags get beta", "one in full"]],
  "flags set": [
    ["sluice flags set beta --state off --reason 'it leaks'", "the next evaluation says so"],
    ["sluice flags set beta --percentage 10% --reason 'a first look'", "of the keys"],
  ],
  "flags import": [["sluice flags import old.json > flags.json", "the older form, in flagd's"]],
  version: [["sluice version --json", "for a program"]],
  completion: [["sluice completion bash > /etc/bash_completion.d/sluice", "for the next shell"]],
};
