// @ts-check
/** The settings page: its forms answer in place, and it shows what is in force after each of them. */

import { receive, unreachable } from "./cards.js";
import { byId, toast } from "./dom.js";
import { freshKey, html, post } from "./net.js";

/** Read the page anew; what is typed in a form that was not sent goes with it. */
async function refresh() {
  const fresh = new DOMParser().parseFromString(await html("/config"), "text/html");
  const main = fresh.querySelector("main.settings");
  if (main) document.querySelector("main.settings")?.replaceWith(main);
}

/** @param {HTMLFormElement} form */
async function send(form) {
  if (form.getAttribute("aria-busy") === "true") return;
  form.setAttribute("aria-busy", "true");
  byId("toasts").replaceChildren();
  try {
    const fields = new FormData(form);
    fields.set("key", freshKey());
    receive(await post("/invoke", fields));
  } catch (error) {
    toast(unreachable(error));
  } finally {
    form.removeAttribute("aria-busy");
  }
}

/** Start the page. */
export function startSettings() {
  document.addEventListener("submit", (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (!form.matches("[data-config]")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    send(form);
  }, true);
  document.addEventListener("atelier:saved", () => {
    refresh().catch((error) => toast(unreachable(error)));
  });
}
