/**
 * The split in force, as shared words: one per route, so that a change of weight, a rollback above all, is one atomic store that the next
 * exchange of every thread sees, however busy the threads are with messages or anything else.
 *
 *     31        24  23  21  20    19                    0
 *     salt's number  bars   shut  weight, parts per million
 *
 * The bars are the safety switches that answer in the route's place: in the same word, so that they cost no load of their own, and one reading
 * of the split says all of it.
 *
 * The salt is a text and goes by message. Its number stands in the word, and a thread that has not been told that salt yet takes the weight for
 * 0: between the store and the message a client may be sent to stable, never more of them to the canary than was decided.
 */

import { NONE, ppm } from "../domain/units.ts";
import type { RouteSplit, Split } from "../engine/routing.ts";

const WEIGHT_BITS = 20;
const WEIGHT_MASK = 2 ** WEIGHT_BITS - 1;
/** Forced traffic must not reach the canary either. */
const SHUT = 1 << WEIGHT_BITS;
const BARS_SHIFT = WEIGHT_BITS + 1;
const BARS_MASK = 7;
const SALT_SHIFT = BARS_SHIFT + 3;
/** A thread would have to be this many salts behind, all of one route, to take an old one for the new. */
const SALTS = 2 ** (32 - SALT_SHIFT);

/** One route's part of the split, without the salt itself. */
export interface SplitWord {
  /** Parts per million, 0 to 1 000 000. */
  readonly weight: number;
  readonly isShut: boolean;
  /** 0 to 7, see `RouteSplit`. */
  readonly bars: number;
  /** Number of the salt, 0 to 255; 0: the one before any. */
  readonly salt: number;
}

/** The word, a signed 32-bit integer. */
export function packed({ weight, isShut, bars, salt }: SplitWord): number {
  return (salt << SALT_SHIFT) | (bars << BARS_SHIFT) | (isShut ? SHUT : 0) | weight;
}

/** What a word says. */
export function unpacked(word: number): SplitWord {
  return {
    weight: word & WEIGHT_MASK,
    isShut: (word & SHUT) !== 0,
    bars: (word >>> BARS_SHIFT) & BARS_MASK,
    salt: word >>> SALT_SHIFT,
  };
}

/** Routes whose words lie in one buffer, in that order, behind one word that counts the splits put in force. */
export interface SplitChunk {
  readonly names: readonly string[];
  readonly buffer: SharedArrayBuffer;
}

/** A salt and the number that stands for it. */
export interface SaltNote {
  readonly route: string;
  readonly number: number;
  readonly salt: string;
  /** The rollout that brought it. */
  readonly rollout: string;
}

interface Entry {
  readonly words: Int32Array;
  readonly index: number;
  split: RouteSplit | undefined;
  note: SaltNote | undefined;
}

/** The writer's side; there is one, in the main thread. */
export class SplitBoard {
  readonly #tell: (notes: readonly SaltNote[]) => void;
  readonly #entries = new Map<string, Entry>();
  readonly #chunks: SplitChunk[] = [];
  #split: Split = { generation: 0, routes: new Map() };

  /** @param tell passes new salts on to every reader */
  constructor(tell: (notes: readonly SaltNote[]) => void) {
    this.#tell = tell;
  }

  /** Everything a new reader needs. */
  get state(): { readonly chunks: readonly SplitChunk[]; readonly salts: readonly SaltNote[] } {
    const salts = [...this.#entries.values()].flatMap(({ note }) => (note === undefined ? [] : [note]));
    return { chunks: [...this.#chunks], salts };
  }

  /** Makes room for the routes that are not there yet, all on stable; undefined when there are none. */
  grow(names: readonly string[]): SplitChunk | undefined {
    const missing = names.filter((name) => !this.#entries.has(name));
    if (missing.length === 0 && this.#chunks.length > 0) return undefined;
    const chunk = { names: missing, buffer: new SharedArrayBuffer((missing.length + 1) * 4) };
    const words = new Int32Array(chunk.buffer);
    missing.forEach((name, at) =>
      this.#entries.set(name, { words, index: at + 1, split: undefined, note: undefined }),
    );
    this.#chunks.push(chunk);
    this.apply(this.#split);
    return chunk;
  }

  /** Puts a split in force. What a route's word says is in force everywhere when this returns. A route without room is left out. */
  apply(split: Split): void {
    this.#split = split;
    const notes: SaltNote[] = [];
    for (const [name, entry] of this.#entries) {
      const next = split.routes.get(name);
      if (next === entry.split) continue;
      const note = next === undefined ? entry.note : noteOf(next, entry.note);
      if (note !== undefined && note !== entry.note) notes.push(note);
      entry.split = next;
      entry.note = note;
      const word = packed({
        weight: next?.weight ?? NONE,
        isShut: next?.forcedCanary === false,
        bars: next?.bars ?? 0,
        salt: note?.number ?? 0,
      });
      Atomics.store(entry.words, entry.index, word);
    }
    const first = this.#chunks[0];
    if (first !== undefined) Atomics.store(new Int32Array(first.buffer), 0, split.generation);
    if (notes.length > 0) this.#tell(notes);
  }
}

/** The note for a split's salt: the one before when the salt is the same. */
function noteOf({ route, salt, rollout }: RouteSplit, before: SaltNote | undefined): SaltNote {
  if (before?.salt === salt) return before;
  // 0 stands for no salt and is left out when the numbers begin anew.
  const number = before === undefined ? 1 : (before.number % (SALTS - 1)) + 1;
  return { route, number, salt, rollout };
}

/** A reader's side; one per thread. */
export class SplitReader {
  readonly #cells = new Map<string, SplitCell>();
  #generation: Int32Array | undefined = undefined;

  /** Takes in the words of more routes. */
  add(chunk: SplitChunk): void {
    const words = new Int32Array(chunk.buffer);
    this.#generation ??= words;
    chunk.names.forEach((name, at) => this.#cells.set(name, new SplitCell(name, words, at + 1)));
  }

  /** Takes in salts. */
  learn(notes: readonly SaltNote[]): void {
    for (const note of notes) this.#cells.get(note.route)?.learn(note);
  }

  /** The route's part of the split, to be kept and read once per exchange. Throws when there is no room for it. */
  cell(route: string): SplitCell {
    const cell = this.#cells.get(route);
    if (cell === undefined) throw new RangeError(`there is no word for the route "${route}"`);
    return cell;
  }

  /** Number of the split that was put in force last. */
  get generation(): number {
    return this.#generation === undefined ? 0 : Atomics.load(this.#generation, 0);
  }
}

/** One route's part of the split, as one thread reads it. */
export class SplitCell {
  readonly #route: string;
  readonly #words: Int32Array;
  readonly #index: number;
  #note: SaltNote;
  #word = 0;
  #split: RouteSplit;

  constructor(route: string, words: Int32Array, index: number) {
    this.#route = route;
    this.#words = words;
    this.#index = index;
    this.#note = { route, number: 0, salt: "", rollout: "" };
    this.#split = this.#unpack(0);
  }

  /** The split in force: one atomic load, and the same object as long as nothing changes. */
  read(): RouteSplit {
    const word = Atomics.load(this.#words, this.#index);
    return word === this.#word ? this.#split : this.#unpack(word);
  }

  /** Takes the canary's weight away, for every thread and at once. False: there was none, or somebody else just did. */
  takeAway(): boolean {
    const word = Atomics.load(this.#words, this.#index);
    if ((word & WEIGHT_MASK) === 0) return false;
    return Atomics.compareExchange(this.#words, this.#index, word, word & ~WEIGHT_MASK) === word;
  }

  learn(note: SaltNote): void {
    this.#note = note;
    this.#unpack(this.#word);
  }

  #unpack(word: number): RouteSplit {
    const { weight, isShut, bars, salt } = unpacked(word);
    this.#word = word;
    this.#split = {
      route: this.#route,
      rollout: this.#note.rollout,
      salt: this.#note.salt,
      weight: salt === this.#note.number ? ppm(weight) : NONE,
      forcedCanary: !isShut,
      bars,
    };
    return this.#split;
  }
}
