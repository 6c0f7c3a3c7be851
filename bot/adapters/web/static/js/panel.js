// @ts-check
/** The creative panel: every option of the picture command as a control; a sheet on a phone. */

import { receive, unreachable } from "./cards.js";
import { build, byId } from "./dom.js";
import { startMask } from "./masking.js";
import { freshKey, post } from "./net.js";
import { watchPrice } from "./price.js";

const panel = byId("panel");
const form = byId("make");
const opener = byId("open-panel");
const shade = byId("shade");
const behind = () => [document.querySelector(".top"), document.querySelector(".channel")];

/** @param {boolean} open */
function slide(open) {
  panel.classList.toggle("open", open);
  shade.hidden = !open;
  opener.setAttribute("aria-expanded", String(open));
  for (const element of behind()) element?.toggleAttribute("inert", open);
  if (open) form.querySelector("textarea, input:not([type=hidden])")?.focus();
  else opener.focus();
}

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  if (form.getAttribute("aria-busy") === "true") return;
  const said = form.querySelector(".said");
  form.setAttribute("aria-busy", "true");
  said.replaceChildren();
  try {
    const fields = new FormData(form);
    fields.set("key", freshKey());
    const answer = await post("/invoke", fields);
    if (answer.ok) {
      if (panel.classList.contains("open")) slide(false);
      receive(answer);
    } else if (answer.toast) said.replaceChildren(build(answer.toast));
  } catch (error) {
    said.replaceChildren(unreachable(error));
  } finally {
    form.removeAttribute("aria-busy");
  }
}

/** Controls that work in the panel and in dialogs alike. */
export function startControls() {
  document.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (input.type !== "range") return;
    const output = document.querySelector(`output[for="${CSS.escape(input.id)}"]`);
    if (output) output.textContent = input.value;
  });
  document.addEventListener("click", (event) => {
    const dice = /** @type {HTMLElement} */ (event.target).closest("[data-dice]");
    if (!dice) return;
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    byId(/** @type {HTMLElement} */ (dice).dataset.dice ?? "").value = String(seed);
  });
}

/** Start the panel. */
export function startPanel() {
  if (!form) return;
  startMask(form);
  watchPrice(form, byId("price"), () => new FormData(form), { refusals: true });
  form.addEventListener("submit", submit);
  opener.addEventListener("click", () => slide(!panel.classList.contains("open")));
  byId("close-panel").addEventListener("click", () => slide(false));
  shade.addEventListener("click", () => slide(false));
  panel.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" && panel.classList.contains("open")) slide(false);
  });
  matchMedia("(max-width: 960px)").addEventListener("change", (event) => {
    if (!event.matches && panel.classList.contains("open")) slide(false);
  });
  for (const pick of form.querySelectorAll("[data-prompt]")) {
    pick.addEventListener("click", () => {
      const prompt = form.querySelector("textarea");
      prompt.value = pick.dataset.prompt;
      prompt.focus();
    });
  }
}
