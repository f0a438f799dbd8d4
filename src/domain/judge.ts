/** Placeholder of the judge's public types while the floors are laid. */
export type VerdictKind = "successful" | "failed" | "inconclusive";
export interface Verdict {
  readonly kind: VerdictKind;
}
