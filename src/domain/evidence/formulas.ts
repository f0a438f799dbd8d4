/**
 * The log-likelihood ratios of the judge, in nats, as plain formulas. Pure.
 *
 * Every rule is about a share of bad responses, so every formula is binomial: "P95 > 500 ms" is "more than 5 % are slower than 500 ms". Each
 * ratio has an expectation of at most 1 before the logarithm is taken while the canary is all right, whatever stable's true rate is;
 * that is what lets products of them be looked at after every response. Counts may be fractions (planning asks for expectations).
 * Index 1 is the canary, 0 is stable. Source: statistics.md §2 and §5; Grünwald, de Heide, Koolen, "Safe testing", 2024.
 */

/**
 * Evidence in nats that the share of bad responses is `alternative` rather than `limit`.
 *
 * @param n           responses, `x` of them bad
 * @param alternative share above the limit, below 1
 * @param limit       share, above 0
 */
export function absoluteNats(n: number, x: number, alternative: number, limit: number): number {
  return x * Math.log(alternative / limit) + (n - x) * Math.log((1 - alternative) / (1 - limit));
}

/**
 * Stable's share at the point of "the canary is at most `ratio` times as bad" that is nearest to the alternative (θ₁, θ₀): the reverse
 * information projection. The canary's is `ratio` times as much, and below 1.
 */
export function nearestNull(n1: number, n0: number, theta1: number, theta0: number, ratio: number): number {
  const a = ratio * (n1 + n0);
  const b = n1 * (ratio + theta1) + n0 * (1 + ratio * theta0);
  const c = n1 * theta1 + n0 * theta0;
  return (2 * c) / (b + Math.sqrt(b * b - 4 * a * c));
}

/** How far above `ratio` times stable's rate an alternative must lie to be bet on. */
const CLEARLY = 1.1;

/** Whether θ₁ lies far enough above the null to be bet on: more than 1.1 times. */
export function isBet(theta1: number, theta0: number, ratio: number): boolean {
  return theta1 > CLEARLY * ratio * theta0;
}

/**
 * Evidence in nats that the canary is worse than `ratio` times stable, as a bet on (θ₁, θ₀). It needs no error on stable, and is 0 when an
 * arm is empty or θ₁ is no bet. The guards have it written out, for speed: here it is the formula that tests hold them to.
 *
 * @param theta1 the canary's share under the alternative, below 1
 * @param theta0 stable's running rate from before these counts, within (0, 1)
 */
export function relativeNats(
  n1: number,
  x1: number,
  n0: number,
  x0: number,
  theta1: number,
  theta0: number,
  ratio: number,
): number {
  if (n1 <= 0 || n0 <= 0 || !isBet(theta1, theta0, ratio)) return 0;
  const t0 = nearestNull(n1, n0, theta1, theta0, ratio);
  return absoluteNats(n1, x1, theta1, ratio * t0) + absoluteNats(n0, x0, theta0, t0);
}

const HALVINGS = 60;

/**
 * Stable's share at the point of "the canary is worse by `margin` or more" that is nearest to both arms being at `theta`; the canary's is
 * `margin` more. By bisection, to the last digit.
 */
export function nearestWorse(n1: number, n0: number, theta: number, margin: number): number {
  let low = Math.max(0, theta - margin);
  let high = theta;
  for (let step = 0; step < HALVINGS; step++) {
    const t0 = (low + high) / 2;
    const t1 = t0 + margin;
    const slope = (n1 * (t1 - theta)) / (t1 * (1 - t1)) + (n0 * (t0 - theta)) / (t0 * (1 - t0));
    if (slope > 0) high = t0;
    else low = t0;
  }
  return (low + high) / 2;
}

/**
 * Evidence in nats that the canary is *not* worse by `margin` or more: the promotion gate's. 0 when an arm is empty.
 *
 * @param theta  both arms' pooled running rate from before these counts, within (0, 1 − margin)
 * @param margin as a share, e.g. 0.001 for 0.1 points
 */
export function notWorseNats(
  n1: number,
  x1: number,
  n0: number,
  x0: number,
  theta: number,
  margin: number,
): number {
  if (n1 <= 0 || n0 <= 0) return 0;
  const t0 = nearestWorse(n1, n0, theta, margin);
  return absoluteNats(n1, x1, theta, t0 + margin) + absoluteNats(n0, x0, theta, t0);
}

/** The share whose odds are `multiple` times those of `share`; within (0, 1) as `share` is. */
export function timesOdds(share: number, multiple: number): number {
  return (multiple * share) / (1 - share + multiple * share);
}
