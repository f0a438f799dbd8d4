import fc from "fast-check";
import t from "tap";
import {
  checkGate,
  gateReading,
  newGate,
  rejectBarred,
  sign,
  tick,
  type GateChange,
  type GateSpec,
  type GateState,
} from "../../src/domain/signatures.ts";
import { millis } from "../../src/domain/units.ts";

const NOON = Date.parse("2026-01-05T12:00:00Z");
const HOUR = 3_600_000;

/** What the last step of the plan asks for. */
const SPEC: GateSpec = {
  roles: ["deployment-lead", "on-call", "platform-lead"],
  acknowledge: ["stakeholders"],
  checklist: ["dashboards-ready", "rollback-plan-reviewed"],
  expiresMs: millis(24 * HOUR),
  samePerson: false,
};

/** One thing that a person does at a gate. */
type Act =
  | {
      readonly do: "sign";
      readonly step: number;
      readonly role: string;
      readonly by: string;
      readonly items: readonly string[];
    }
  | { readonly do: "tick"; readonly step: number; readonly item: string; readonly by: string }
  | {
      readonly do: "reject";
      readonly step: number;
      readonly role: string;
      readonly by: string;
      readonly reason: string;
    };

/** What comes of it; after a no all is asked anew. */
function act(spec: GateSpec, state: GateState, what: Act, atMs = NOON): GateChange {
  switch (what.do) {
    case "sign":
      return sign(spec, state, what.step, { role: what.role, by: what.by, atMs, comment: "" }, what.items);
    case "tick":
      return tick(spec, state, what.step, { item: what.item, by: what.by, atMs, comment: "" });
    case "reject":
      return (
        rejectBarred(spec, state, what.step, what.role, what.reason) ?? {
          ok: true,
          state: newGate(what.step),
        }
      );
  }
}
const signing = (by: string, role: string, items: readonly string[] = []): Act => ({
  do: "sign",
  step: 3,
  role,
  by,
  items,
});
const ticking = (by: string, item: string): Act => ({ do: "tick", step: 3, item, by });
const rejecting = (by: string, role: string, reason = "users complain"): Act => ({
  do: "reject",
  step: 3,
  role,
  by,
  reason,
});

/** The state after acts none of which may be refused, an hour apart. */
function after(acts: readonly Act[], spec = SPEC, from = newGate(3)): GateState {
  return acts.reduce((state, what, hours) => {
    const change = act(spec, state, what, NOON + hours * HOUR);
    if (!change.ok) throw new Error(`refused: ${change.message}`);
    return change.state;
  }, from);
}

/** All that the last step asks for. */
const ALL: readonly Act[] = [
  signing("ada", "deployment-lead", ["dashboards-ready"]),
  signing("ben", "on-call"),
  signing("cy", "platform-lead"),
  signing("ada", "stakeholders"),
  ticking("ben", "rollback-plan-reviewed"),
];

const people = fc.constantFrom("ada", "ben", "cy", "dee");
const rolePool = ["lead", "on-call", "platform", "owners"];
const itemPool = ["dashboards", "plan"];
const anyRole = fc.oneof(
  { weight: 29, arbitrary: fc.constantFrom(...rolePool) },
  { weight: 1, arbitrary: fc.constant("nobody") },
);
const anyItem = fc.constantFrom(...itemPool, "nothing");
const anySpec: fc.Arbitrary<GateSpec> = fc
  .record({
    roles: fc.subarray(rolePool.slice(0, 3)),
    acknowledge: fc.subarray(rolePool.slice(3)),
    checklist: fc.subarray(itemPool),
    expiresMs: fc.constantFrom(null, millis(12 * HOUR)),
    samePerson: fc.boolean(),
  })
  .filter((spec) => checkGate(spec).length === 0);
const step = fc.oneof({ weight: 29, arbitrary: fc.constant(3) }, { weight: 1, arbitrary: fc.constant(2) });
const anyAct: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 24,
    arbitrary: fc.record({
      do: fc.constant("sign" as const),
      step,
      role: anyRole,
      by: people,
      items: fc.subarray(itemPool, { maxLength: 1 }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("tick" as const), step, item: anyItem, by: people }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("reject" as const),
      step,
      role: anyRole,
      by: people,
      reason: fc.constantFrom("no", ""),
    }),
  },
);
/** Acts at any hours of a day and a half: the wall clock may be set back between them. */
const life = fc.array(fc.tuple(anyAct, fc.integer({ min: 0, max: 36 })), { maxLength: 40, size: "max" });
const RUNS = { numRuns: 1000 };

/** Plays a life, and shows each act with the states around it. */
function play(
  spec: GateSpec,
  acts: readonly (readonly [Act, number])[],
  see: (before: GateState, what: Act, change: GateChange, atMs: number) => boolean,
): boolean {
  let state = newGate(3);
  return acts.every(([what, hour]) => {
    const atMs = NOON + hour * HOUR;
    const before = JSON.stringify(state);
    const change = act(spec, state, what, atMs);
    const isSound = see(state, what, change, atMs) && JSON.stringify(state) === before;
    if (change.ok) state = change.state;
    return isSound;
  });
}

t.test("a gate is granted exactly when all that it asks for is there and has not expired", async () => {
  fc.assert(
    fc.property(anySpec, life, fc.integer({ min: 0, max: 48 }), (spec, acts, later) => {
      return play(spec, acts, (_, __, change, atMs) => {
        if (!change.ok) return true;
        const { state } = change;
        const now = atMs + later * HOUR;
        const isFresh = (one: { atMs: number }): boolean =>
          spec.expiresMs === null || now < one.atMs + spec.expiresMs;
        const has = (role: string): boolean =>
          state.signatures.some((one) => one.role === role && isFresh(one));
        const done = (item: string): boolean => state.ticks.some((one) => one.item === item && isFresh(one));
        const isThere = [...spec.roles, ...spec.acknowledge].every(has) && spec.checklist.every(done);
        return gateReading(spec, state, now).granted === isThere;
      });
    }),
    RUNS,
  );
});

t.test(
  "no gate is granted without each of its roles having signed it since it was last asked anew",
  async () => {
    fc.assert(
      fc.property(anySpec, life, (spec, acts) => {
        const heard = new Set<string>();
        return play(spec, acts, (_, what, change, atMs) => {
          if (change.ok && what.do === "sign") heard.add(what.role);
          if (change.ok && what.do === "reject") heard.clear();
          if (!change.ok || !gateReading(spec, change.state, atMs).granted) return true;
          return [...spec.roles, ...spec.acknowledge].every((role) => heard.has(role));
        });
      }),
      RUNS,
    );
  },
);

t.test(
  "one person stands for one role, whatever the wall clock does, unless the plan says otherwise",
  async () => {
    fc.assert(
      fc.property(anySpec, life, (spec, acts) => {
        return play(spec, acts, (_, __, change) => {
          if (!change.ok || spec.samePerson) return true;
          const signers = change.state.signatures
            .filter(({ role }) => spec.roles.includes(role))
            .map(({ by }) => by);
          return new Set(signers).size === signers.length;
        });
      }),
      RUNS,
    );
  },
);

t.test("the order in which people sign and tick does not matter", async () => {
  const shuffled = fc.shuffledSubarray([...ALL], { minLength: ALL.length });
  fc.assert(
    fc.property(shuffled, (acts) => {
      const early = acts.slice(0, -1).reduce((state, what) => after([what], SPEC, state), newGate(3));
      const all = after(acts.slice(-1), SPEC, early);
      return !gateReading(SPEC, early, NOON).granted && gateReading(SPEC, all, NOON).granted;
    }),
    RUNS,
  );
});

t.test("a refusal changes nothing, and what is done twice is done once", async () => {
  fc.assert(
    fc.property(anySpec, life, (spec, acts) => {
      return play(spec, acts, (before, what, change, atMs) => {
        if (!change.ok) return change.message !== "" && !act(spec, before, what, atMs).ok;
        if (what.do === "reject") return true;
        const again = act(spec, change.state, what, atMs);
        return again.ok && again.state === change.state;
      });
    }),
    RUNS,
  );
});

t.test("the state survives being written down", async () => {
  fc.assert(
    fc.property(anySpec, life, (spec, acts) => {
      return play(spec, acts, (_, __, change, atMs) => {
        if (!change.ok) return true;
        const read = JSON.parse(JSON.stringify(change.state)) as GateState;
        return gateReading(spec, read, atMs).words === gateReading(spec, change.state, atMs).words;
      });
    }),
    RUNS,
  );
});

t.test("a late signature for another step is refused (acceptance 22)", async (t) => {
  for (const what of [
    signing("ben", "on-call"),
    ticking("ben", "dashboards-ready"),
    rejecting("ben", "on-call"),
  ]) {
    for (const from of [newGate(3), after(ALL)]) {
      const change = act(SPEC, from, { ...what, step: 2 });
      t.match(
        change,
        {
          ok: false,
          code: "SPLIT_PHASE_MISMATCH",
          message: /of step 4 \(index 3\), not of step 3 \(index 2\)/,
        },
        what.do,
      );
    }
  }
});

t.test("who is not asked is told who is", async (t) => {
  t.match(act(SPEC, newGate(3), signing("ada", "boss")), {
    ok: false,
    code: "SPLIT_INPUT_INVALID",
    message: /no role "boss"; it asks for deployment-lead, on-call, platform-lead, stakeholders$/,
  });
  t.match(act(SPEC, newGate(3), rejecting("ada", "boss")), {
    code: "SPLIT_INPUT_INVALID",
    message: /no role "boss"/,
  });
  const unknown = {
    ok: false,
    code: "SPLIT_INPUT_INVALID",
    message: /no item "tea"; it asks for dashboards-ready/,
  };
  t.match(act(SPEC, newGate(3), ticking("ada", "tea")), unknown);
  t.match(
    act(SPEC, newGate(3), signing("ada", "on-call", ["dashboards-ready", "tea", "dashboards-ready"])),
    unknown,
  );
  const bare: GateSpec = { ...SPEC, roles: ["on-call"], checklist: [] };
  t.match(act(bare, newGate(3), ticking("ada", "tea")), { message: /no item "tea"; it asks for none$/ });
});

t.test("a role is signed for once, by a person of its own", async (t) => {
  const state = after([signing("ada", "on-call")]);
  t.match(act(SPEC, state, signing("ben", "on-call")), {
    ok: false,
    code: "SPLIT_PHASE_MISMATCH",
    message: 'ada has already signed for the role "on-call"',
  });
  t.match(act(SPEC, state, signing("ada", "platform-lead")), {
    ok: false,
    code: "SPLIT_FORBIDDEN",
    message: 'ada has signed for the role "on-call": another person must sign for "platform-lead"',
  });
  t.ok(act(SPEC, state, signing("ada", "stakeholders")).ok, "to have seen it is no second consent");
  t.ok(act(SPEC, after([signing("ada", "stakeholders")]), signing("ada", "on-call")).ok);
  t.ok(act({ ...SPEC, samePerson: true }, state, signing("ada", "platform-lead")).ok);
  const again = act(SPEC, state, signing("ada", "on-call", ["dashboards-ready"]), NOON + HOUR);
  t.match(again, {
    ok: true,
    state: { signatures: [{ atMs: NOON }], ticks: [{ by: "ada", atMs: NOON + HOUR }] },
  });
});

t.test(
  "what was said expires, is named as such, and can be said again by the same person or another",
  async (t) => {
    const state = after(ALL);
    t.ok(gateReading(SPEC, state, NOON + 24 * HOUR - 1).granted);
    const reading = gateReading(SPEC, state, NOON + 24 * HOUR);
    const gone = { roles: ["deployment-lead"], acknowledge: [], items: ["dashboards-ready"] };
    t.same([reading.missing, reading.expired], [gone, gone]);
    t.match(reading, {
      granted: false,
      words:
        "waits for the signature of deployment-lead; the checklist: dashboards-ready (expired: deployment-lead, dashboards-ready)",
    });
    const late = NOON + 24 * HOUR;
    for (const by of ["ada", "dee"]) {
      const change = act(SPEC, state, signing(by, "deployment-lead", ["dashboards-ready"]), late);
      t.match(change, { ok: true });
      if (change.ok) t.ok(gateReading(SPEC, change.state, late).granted, by);
      if (change.ok) t.equal(change.state.signatures.length, 4, "the new one instead of the old");
      if (change.ok) t.equal(change.state.ticks.length, 2);
    }
    t.ok(gateReading({ ...SPEC, expiresMs: null }, state, NOON + 1000 * HOUR).granted, "for ever");
    t.match(gateReading(SPEC, state, NOON + 1000 * HOUR).expired, { acknowledge: ["stakeholders"] });
  },
);

t.test(
  "an expired signature does not come back to life beside a new one when the clock is set back",
  async (t) => {
    const early = after([signing("ada", "on-call")]);
    const change = act(SPEC, early, signing("ada", "platform-lead"), NOON + 25 * HOUR);
    t.match(change, { ok: true, state: { signatures: [{ role: "platform-lead" }] } });
    if (change.ok)
      t.same(gateReading(SPEC, change.state, NOON).missing.roles, ["deployment-lead", "on-call"]);
  },
);

t.test(
  "a no needs a reason and a role that signs, and may come from any person, however many have signed",
  async (t) => {
    const full = after(ALL);
    t.match(act(SPEC, full, rejecting("dee", "on-call", " ")), {
      code: "SPLIT_INPUT_INVALID",
      message: /reason/,
    });
    t.match(act(SPEC, full, rejecting("dee", "stakeholders")), {
      code: "SPLIT_INPUT_INVALID",
      message: /"stakeholders" acknowledges, and cannot reject; deployment-lead, on-call, platform-lead can$/,
    });
    t.match(act({ ...SPEC, roles: [] }, full, rejecting("dee", "stakeholders")), { message: /nobody can$/ });
    t.equal(rejectBarred(SPEC, full, 3, "on-call", "users complain"), null);
    t.equal(rejectBarred(SPEC, newGate(3), 3, "on-call", "users complain"), null);
  },
);

t.test("how a gate stands is one sentence", async (t) => {
  const words = (acts: readonly Act[], spec = SPEC): string =>
    gateReading(spec, after(acts, spec), NOON).words;
  t.equal(
    words([]),
    "waits for the signature of deployment-lead, on-call, platform-lead; the acknowledgement of stakeholders; " +
      "the checklist: dashboards-ready, rollback-plan-reviewed",
  );
  t.equal(
    words(ALL),
    "granted by ada (deployment-lead), ben (on-call), cy (platform-lead), ada (stakeholders)",
  );
  t.equal(words(ALL.slice(0, 4)), "waits for the checklist: rollback-plan-reviewed");
  const listed: GateSpec = { ...SPEC, roles: [], acknowledge: [] };
  t.equal(
    words([ticking("ada", "dashboards-ready"), ticking("ada", "rollback-plan-reviewed")], listed),
    "granted",
  );
});

t.test("a gate that cannot be meant is refused in words", async (t) => {
  t.same(checkGate(SPEC), []);
  t.same(checkGate({ ...SPEC, expiresMs: null }), []);
  t.match(checkGate({ ...SPEC, roles: [], acknowledge: [], checklist: [] }), [/must ask for/]);
  t.match(
    checkGate({
      ...SPEC,
      roles: ["a", "a", "a", " "],
      acknowledge: ["b", "a"],
      checklist: ["c", "c"],
      expiresMs: millis(0),
    }),
    [/role "a" is asked twice/, /item "c" is on the checklist twice/, /without a name/, /expires at once/],
  );
  t.equal(checkGate({ ...SPEC, roles: ["a", "a", "a"] }).length, 1);
});
