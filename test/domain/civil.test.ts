import fc from "fast-check";
import t from "tap";
import {
  formatIso,
  DAY,
  MINUTE,
  WEEKDAYS,
  formatClockTime,
  formatLocal,
  formatWeekday,
  isTimeZone,
  localMs,
  localTime,
  parseClockTime,
  wallOf,
  wallOfLocal,
  weekdayOf,
} from "../../src/domain/civil.ts";

const ZONES = [
  "UTC",
  "Europe/Berlin",
  "America/New_York",
  "America/St_Johns",
  "Australia/Lord_Howe",
  "Asia/Kolkata",
  "Asia/Kathmandu",
  "Africa/Cairo",
  "America/Havana",
  "Pacific/Apia",
  "Pacific/Kiritimati",
];
const zone = fc.constantFrom(...ZONES);
const at = (iso: string): number => Date.parse(iso);
/** Whole minutes from 1975 to 2200, the days around clocks that jump as often as all others together. */
const wall = fc
  .oneof(
    fc.integer({ min: at("1975-01-01T00:00Z") / MINUTE, max: at("2200-01-01T00:00Z") / MINUTE }),
    fc
      .tuple(
        fc.constantFrom(
          "2026-03-29T01:00Z",
          "2026-10-25T01:00Z",
          "2026-03-08T07:00Z",
          "2026-11-01T06:00Z",
          "2026-04-04T15:00Z",
          "2026-10-03T15:30Z",
          "2011-12-30T10:00Z",
          "2010-11-07T02:31Z",
        ),
        fc.integer({ min: -2880, max: 2880 }),
      )
      .map(([jump, minutes]) => at(jump) / MINUTE + minutes),
  )
  .map((minutes) => minutes * MINUTE);

t.test(
  "a date is the one that the platform's own calendar has, leap days and centuries included",
  async () => {
    const years = fc.integer({ min: at("0005-01-01T00:00Z") / DAY, max: at("+200000-01-01T00:00Z") / DAY });
    fc.assert(
      fc.property(years, fc.integer({ min: 0, max: 1439 }), (day, minutes) => {
        const here = localTime(day * DAY + minutes * MINUTE, "UTC");
        const there = new Date(day * DAY);
        return (
          here.year === there.getUTCFullYear() &&
          here.month === there.getUTCMonth() + 1 &&
          here.day === there.getUTCDate() &&
          here.minutes === minutes &&
          here.weekday === WEEKDAYS[(there.getUTCDay() + 6) % 7] &&
          wallOf(here, "UTC") === day * DAY + minutes * MINUTE
        );
      }),
    );
  },
);

t.test("what the clock shows leads back to the instant, but for the second coming of an hour", async () => {
  fc.assert(
    fc.property(wall, zone, (x, z) => {
      const back = wallOf(localTime(x, z), z);
      // Earlier, the clock showed the same: it has been set back in between.
      return back === x || (back < x && x - back <= 60 * MINUTE && localMs(back, z) === localMs(x, z));
    }),
    { numRuns: 1000 },
  );
});

t.test("an instant is the first at which the clock shows that time or later", async () => {
  fc.assert(
    fc.property(wall, zone, (local, z) => {
      const found = wallOfLocal(local, z);
      const before = Array.from({ length: 60 }, (_, i) => found - 1 - i * 7 * MINUTE);
      return localMs(found, z) >= local && before.every((x) => localMs(x, z) < local);
    }),
    { numRuns: 1000 },
  );
});

t.test("a later time of the clock never comes before an earlier one", async () => {
  fc.assert(
    fc.property(wall, fc.integer({ min: 0, max: 2 * DAY }), zone, (local, more, z) => {
      return wallOfLocal(local, z) <= wallOfLocal(local + more, z);
    }),
    { numRuns: 1000 },
  );
});

t.test("clocks around the world show what is known of them", async (t) => {
  const shown: readonly (readonly [string, string, string])[] = [
    ["2026-01-05T09:00Z", "UTC", "Mon 2026-01-05 09:00 UTC"],
    ["2026-01-05T09:00Z", "Europe/Berlin", "Mon 2026-01-05 10:00 Europe/Berlin"],
    ["2026-07-05T22:30Z", "Europe/Berlin", "Mon 2026-07-06 00:30 Europe/Berlin"],
    ["2026-01-05T04:59Z", "America/New_York", "Sun 2026-01-04 23:59 America/New_York"],
    ["2026-07-05T12:00Z", "America/New_York", "Sun 2026-07-05 08:00 America/New_York"],
    ["2026-01-05T00:00Z", "Australia/Lord_Howe", "Mon 2026-01-05 11:00 Australia/Lord_Howe"],
    ["2026-07-05T00:00Z", "Australia/Lord_Howe", "Sun 2026-07-05 10:30 Australia/Lord_Howe"],
    ["2026-07-05T18:30Z", "Asia/Kolkata", "Mon 2026-07-06 00:00 Asia/Kolkata"],
    ["2024-02-29T23:59:59.999Z", "UTC", "Thu 2024-02-29 23:59 UTC"],
    ["2000-02-29T12:00Z", "UTC", "Tue 2000-02-29 12:00 UTC"],
    ["2025-12-31T23:00Z", "Europe/Berlin", "Thu 2026-01-01 00:00 Europe/Berlin"],
    ["2100-02-28T23:00Z", "Europe/Berlin", "Mon 2100-03-01 00:00 Europe/Berlin"],
    ["2999-01-05T09:00Z", "Europe/Berlin", "Sat 2999-01-05 10:00 Europe/Berlin"],
    ["1969-12-31T23:59:59.500Z", "UTC", "Wed 1969-12-31 23:59 UTC"],
    ["1969-12-31T22:59:59.500Z", "Europe/Berlin", "Wed 1969-12-31 23:59 Europe/Berlin"],
    ["0800-12-25T12:00Z", "UTC", "Mon 0800-12-25 12:00 UTC"],
  ];
  for (const [iso, z, text] of shown) t.equal(formatLocal(at(iso), z), text);
  t.same(localTime(at("2026-01-05T09:07:59Z"), "Asia/Kolkata"), {
    year: 2026,
    month: 1,
    day: 5,
    weekday: "mon",
    minutes: 14 * 60 + 37,
  });
});

t.test(
  "a time that is skipped is taken for the first instant after it, one that comes twice for the first",
  async (t) => {
    const instants: readonly (readonly [string, number, string, string])[] = [
      ["2026-03-29", 119, "Europe/Berlin", "2026-03-29T00:59Z"],
      ["2026-03-29", 120, "Europe/Berlin", "2026-03-29T01:00Z"],
      ["2026-03-29", 150, "Europe/Berlin", "2026-03-29T01:00Z"],
      ["2026-03-29", 180, "Europe/Berlin", "2026-03-29T01:00Z"],
      ["2026-03-29", 181, "Europe/Berlin", "2026-03-29T01:01Z"],
      ["2026-10-25", 119, "Europe/Berlin", "2026-10-24T23:59Z"],
      ["2026-10-25", 120, "Europe/Berlin", "2026-10-25T00:00Z"],
      ["2026-10-25", 179, "Europe/Berlin", "2026-10-25T00:59Z"],
      ["2026-10-25", 180, "Europe/Berlin", "2026-10-25T02:00Z"],
      ["2026-03-08", 150, "America/New_York", "2026-03-08T07:00Z"],
      ["2026-11-01", 90, "America/New_York", "2026-11-01T05:30Z"],
      ["2026-11-01", 120, "America/New_York", "2026-11-01T07:00Z"],
      // Half an hour is skipped, and half an hour comes twice.
      ["2026-10-04", 135, "Australia/Lord_Howe", "2026-10-03T15:30Z"],
      ["2026-10-04", 150, "Australia/Lord_Howe", "2026-10-03T15:30Z"],
      ["2026-04-05", 105, "Australia/Lord_Howe", "2026-04-04T14:45Z"],
      ["2026-04-05", 120, "Australia/Lord_Howe", "2026-04-04T15:30Z"],
      // A whole day that never was.
      ["2011-12-30", 540, "Pacific/Apia", "2011-12-30T10:00Z"],
      // Set back over midnight, a minute after it.
      ["2010-11-07", 0, "America/St_Johns", "2010-11-07T02:30Z"],
      ["2010-11-06", 1439, "America/St_Johns", "2010-11-07T02:29Z"],
      // Over the end of a day and of a year.
      ["2026-12-31", 1440, "Asia/Kolkata", "2026-12-31T18:30Z"],
    ];
    for (const [date, minutes, z, iso] of instants) {
      const [year, month, day] = date.split("-").map(Number) as [number, number, number];
      t.equal(wallOf({ year, month, day, minutes }, z), at(iso), `${date} ${formatClockTime(minutes)} ${z}`);
    }
  },
);

t.test("a time of day is read as it is written, and nothing else is", async (t) => {
  for (let minutes = 0; minutes <= 1440; minutes++)
    t.equal(parseClockTime(formatClockTime(minutes)), minutes);
  for (const text of ["", "9:00", "09:60", "24:01", "25:00", "09:00:00", "0900", "-1:00", " 09:00", "9am"])
    t.equal(parseClockTime(text), undefined, text);
});

t.test("a zone is one with a name, and an unknown one is a bug wherever it gets in", async (t) => {
  for (const name of [...ZONES, "utc", "europe/berlin", "Etc/GMT+5"]) t.ok(isTimeZone(name), name);
  for (const name of ["", "+01:00", "-05:00", "Europe/Berlim", "Mars/Olympus", "UTC+1"])
    t.notOk(isTimeZone(name), name);
  t.throws(() => localTime(0, "Mars/Olympus"), RangeError);
  t.equal(localMs(0, "asia/kolkata"), localMs(0, "Asia/Kolkata"));
  t.same([0, 1, 4, -1, -4].map(weekdayOf).map(formatWeekday), ["Thu", "Fri", "Mon", "Wed", "Sun"]);
});

t.test("a zone's clocks go on as they were where the platform's calendar ends", async (t) => {
  t.equal(localMs(1e17, "Asia/Kolkata"), 1e17 + 330 * MINUTE);
  t.equal(localMs(-1e17, "UTC"), -1e17);
  t.ok(localMs(-1e17, "Asia/Kolkata") > -1e17);
});

t.test("an instant for programs is written as the platform writes it", async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: at("0005-01-01T00:00Z"), max: at("9999-12-31T23:59Z") }), (wall) => {
      return formatIso(wall) === new Date(wall).toISOString();
    }),
  );
  t.equal(formatIso(at("2026-01-05T09:00Z") + 7), "2026-01-05T09:00:00.007Z");
});
