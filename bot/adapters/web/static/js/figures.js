// @ts-check
/** What moving a threshold would have done to the findings that moderators decided. */

import { byId, say } from "./dom.js";
import { get } from "./net.js";

const box = byId("slider");

document.addEventListener("click", async (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("[data-stage]");
  if (!(button instanceof HTMLElement) || !box) return;
  const { stage = "", code = "" } = button.dataset;
  const query = new URLSearchParams({ stage, code });
  const { lines } = await get(`/review/thresholds?${query}`);
  const input = /** @type {HTMLInputElement} */ (box.querySelector("input"));
  box.hidden = false;
  input.max = String(lines.length - 1);
  const draw = () => {
    const line = lines[Number(input.value)];
    /** @type {HTMLElement} */ (box.querySelector("output")).textContent = `${stage} ${code} ≥ ${line.threshold.toFixed(2)}`;
    /** @type {HTMLElement} */ (box.querySelector("p")).textContent = say("slider", line);
  };
  input.oninput = draw;
  draw();
  input.focus();
});
