/**
 * The histograms of `domain/`, as this folder takes them: its only door to the floor around it, because the lint's rule "the domain imports
 * nothing but itself" is written as "no import from a folder above".
 */

// oxlint-disable-next-line no-restricted-imports -- still the domain
export { indexOfMicros } from "../hdr.ts";
// oxlint-disable-next-line no-restricted-imports -- still the domain
export { addSparse, emptyCounts, quantilesOf, type Counts } from "../latency.ts";
// oxlint-disable-next-line no-restricted-imports -- still the domain
export type { SparseCounts } from "../slice.ts";
