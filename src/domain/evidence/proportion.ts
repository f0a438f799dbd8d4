/**
 * Intervals for shares, for people and for the success limits. Pure.
 *
 * These hold at one look, at the stated level; they explain what was observed. What decides is the guards' evidence, which may be looked at
 * at any time: an interval that holds at all times at once is some two times as wide and would hide from a person what the decision saw.
 */

/** A closed interval of a share or of a difference of shares, as fractions. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** The level of every interval here, two-sided. */
const LEVEL = 0.95;
const Z = 1.959963984540054;

/**
 * Wilson's score interval for a share, two-sided 95 %; [0, 1] when there is nothing. Source: Wilson 1927; Brown, Cai, DasGupta,
 * "Interval estimation for a binomial proportion", 2001.
 *
 * @param x bad ones of `n`
 */
export function shareInterval(x: number, n: number): Interval {
  if (n === 0) return { low: 0, high: 1 };
  const p = x / n;
  const z2 = Z * Z;
  const middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const half = (Z * Math.sqrt((p * (1 - p) + z2 / (4 * n)) / n)) / (1 + z2 / n);
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/**
 * Newcombe's hybrid score interval for the difference p₁ − p₀, two-sided 95 % at one look; it does well where an arm has no bad response at
 * all, as stable often has. Source: Newcombe, Statistics in Medicine 17, 1998, 873–890, method 10.
 */
export function differenceInterval(x1: number, n1: number, x0: number, n0: number): Interval {
  if (n1 === 0 || n0 === 0) return { low: -1, high: 1 };
  const canary = shareInterval(x1, n1);
  const stable = shareInterval(x0, n0);
  const p1 = x1 / n1;
  const p0 = x0 / n0;
  return {
    low: p1 - p0 - Math.hypot(p1 - canary.low, stable.high - p0),
    high: p1 - p0 + Math.hypot(canary.high - p1, p0 - stable.low),
  };
}

/**
 * The upper 95 % bound (one-sided) for a share by Clopper and Pearson, 1934: exact, never too low. 1 when there is nothing. Zero bad ones
 * are below 0.1 % from 2,995 responses on (statistics.md §5). `x` and `n` need not be whole.
 */
export function upperBound(x: number, n: number): number {
  if (x >= n) return 1;
  let low = x / n;
  let high = 1;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (isShownBelow(x, n, middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Whether `x` of `n` show that the share is below `limit`: were it `limit`, so few bad ones would be seen less than once in twenty. */
export function isShownBelow(x: number, n: number, limit: number): boolean {
  // P(X ≤ x) at `limit` is 1 − I(limit; x + 1, n − x).
  return x < n && 1 - betaShare(limit, x + 1, n - x) < 1 - LEVEL;
}

/** The regularised incomplete beta function I(at; a, b), for `at` within [0, 1] and a, b > 0. Source: DLMF §8.17. */
export function betaShare(at: number, a: number, b: number): number {
  if (at <= 0) return 0;
  if (at >= 1) return 1;
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(at) + b * Math.log1p(-at),
  );
  // The fraction converges fast on the near side of the mean.
  return at < (a + 1) / (a + b + 2)
    ? (front * betaFraction(at, a, b)) / a
    : 1 - (front * betaFraction(1 - at, b, a)) / b;
}

/** The continued fraction DLMF 8.17.22, by Lentz's method; on this side of the mean no denominator is 0. */
function betaFraction(x: number, a: number, b: number): number {
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1));
  let value = d;
  let last = 0;
  for (let m = 1; m <= 10_000 && Math.abs(last - 1) > 1e-15; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    value *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    last = d * c;
    value *= last;
  }
  return value;
}

/** ln Γ(x) for x > 0, to about 14 digits: Stirling's series (DLMF 5.11.1) from 15 on, the recurrence below. */
function logGamma(x: number): number {
  let shift = 0;
  let y = x;
  while (y < 15) shift += Math.log(y++);
  const r = 1 / (y * y);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / y;
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
