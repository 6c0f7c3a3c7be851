// @ts-check
/** What the chosen options would cost and what would be left, while one still chooses. */

import { post } from "./net.js";

const PAUSE_MS = 350;
/** @type {(() => void)[]} */
const watching = [];

/**
 * Keep a line of text true: the price of what `fields` gives, asked anew after each change.
 * @param {HTMLElement} source whose input and change events mean that something else is chosen
 * @param {HTMLElement | null} output where it is said; a live region
 * @param {() => FormData | null} fields what would be sent; null when there is nothing to price
 * @param {{ refusals: boolean }} options whether to say why something is not possible
 */
export function watchPrice(source, output, fields, { refusals }) {
  if (!output) return;
  let timer = 0;
  let turn = 0;
  /** @param {string} text @param {boolean} wrong */
  const say = (text, wrong) => {
    // The same words again would be read aloud again.
    if (output.textContent !== text) output.textContent = text;
    output.classList.toggle("wrong", wrong);
  };
  const ask = async () => {
    const now = ++turn;
    const wanted = fields();
    if (!wanted) return say("", false);
    try {
      /** @type {any} */
      const answer = await post("/quote", wanted);
      if (now !== turn) return; // something newer is being asked
      const priced = typeof answer.price === "number";
      say(priced || refusals ? answer.text : "", !answer.ok);
    } catch {
      if (now === turn) say("", false);
    }
  };
  const later = () => {
    clearTimeout(timer);
    timer = window.setTimeout(ask, PAUSE_MS);
  };
  source.addEventListener("input", later);
  source.addEventListener("change", later);
  source.addEventListener("click", (event) => {
    if (/** @type {HTMLElement} */ (event.target).closest("[data-dice], [data-unput], [data-prompt]")) later();
  });
  watching.push(later);
  later();
}

/** The balance has changed: so has what would be left. */
export function refreshPrices() {
  for (const again of watching) again();
}
