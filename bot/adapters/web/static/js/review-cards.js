// @ts-check
/** Cards of cases, fetched before they are needed: a ruling must not wait for the next one. */

import { build } from "./dom.js";
import { get } from "./net.js";

/** How long a fetched card may be shown without asking again. */
const FRESH_MS = 20_000;

/** @typedef {{ at: number, card: HTMLElement | null, coming: Promise<HTMLElement> }} Kept */
/** @type {Map<string, Kept>} */
const kept = new Map();

/**
 * @param {string} id
 * @param {boolean} blind
 */
const keyOf = (id, blind) => (blind ? `${id}?blind` : id);

/**
 * A card that is here already, or null.
 * @param {string} id
 * @param {boolean} [blind]
 */
export function cardOf(id, blind = false) {
  const found = kept.get(keyOf(id, blind));
  return found?.card && performance.now() - found.at < FRESH_MS ? found.card : null;
}

/**
 * A card, from here or from the server; its veiled picture starts loading with it.
 * @param {string} id
 * @param {boolean} [blind]
 * @returns {Promise<HTMLElement>}
 */
export function fetchCard(id, blind = false) {
  const key = keyOf(id, blind);
  const found = kept.get(key);
  if (found && performance.now() - found.at < FRESH_MS) return found.coming;
  /** @type {Kept} */
  const one = { at: performance.now(), card: null, coming: ask(id, blind) };
  kept.set(key, one);
  one.coming.then((card) => (one.card = card), () => kept.delete(key));
  return one.coming;
}

/**
 * @param {string} id
 * @param {boolean} blind
 */
async function ask(id, blind) {
  const answer = await get(`/review/cases/${id}${blind ? "?blind=1" : ""}`);
  if (!answer.ok) throw new Error(answer.text);
  return document.importNode(build(answer.case), true);
}

/** @param {string} id */
export function drop(id) {
  kept.delete(id);
}

/**
 * What was decided or revealed is not to be shown again from here.
 * @param {string} id
 */
export function forget(id) {
  kept.delete(id);
  kept.delete(keyOf(id, true));
}
