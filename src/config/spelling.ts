/**
 * What a misspelt word was meant to be. Pure.
 *
 * Optimal string alignment (Damerau–Levenshtein in which no part is edited twice), because the commonest slip of a typing hand is
 * two letters in the wrong order, and plain Levenshtein counts that as two.
 */

/** Farther apart than this, a suggestion would be a guess. */
const NEAR = 2;

/** The known word nearest to `word`, at most two edits away and nearer than a replacement of the whole word; undefined when none is. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.min(NEAR, word.length - 1) + 1;
  for (const candidate of known) {
    const edits = distance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < least) {
      least = edits;
      best = candidate;
    }
  }
  return best;
}

/** Edits between two words: insertions, deletions, replacements and swaps of neighbours. Long words that cannot be near cost nothing. */
export function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > NEAR) return Math.abs(a.length - b.length);
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let edits = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, (before[j - 2] ?? 0) + 1);
      }
      row.push(edits);
    }
    before = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
