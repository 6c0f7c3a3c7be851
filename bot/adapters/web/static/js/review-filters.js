// @ts-check
/** Filters of the queue, the views a moderator keeps, and one ruling for all that is shown. */

import { build, byId, note, say, toast } from "./dom.js";
import { get, post } from "./net.js";

/** @type {HTMLFormElement} */
const form = byId("filters");
const dialog = /** @type {HTMLDialogElement} */ (byId("dialog"));

/** The chosen filter as a query; empty fields left out. */
export function chosen() {
  const given = [...new FormData(form)].filter(([, value]) => value !== "");
  return new URLSearchParams(/** @type {any} */ (given)).toString();
}

/** @param {Record<string, unknown>} filters */
function set(filters) {
  for (const field of /** @type {any} */ (form.elements)) {
    if (!field.name) continue;
    const value = filters[field.name];
    if (field.type === "checkbox") field.checked = Boolean(value);
    else field.value = value === undefined ? "" : String(value);
  }
}

/** Which view is the chosen filter. */
function mark() {
  const now = chosen();
  for (const chip of document.querySelectorAll("[data-filters]")) {
    const filters = /** @type {HTMLElement} */ (chip).dataset.filters || "{}";
    const its = new URLSearchParams(Object.entries(JSON.parse(filters)).map(([k, v]) => [k, String(v)]));
    its.sort();
    const ours = new URLSearchParams(now);
    ours.sort();
    chip.toggleAttribute("aria-current", its.toString() === ours.toString());
  }
}

/**
 * @param {() => void} refresh
 * @param {(batch: string, ids: string[], said: string) => void} decided
 */
export function wireFilters(refresh, decided) {
  const changed = () => {
    const query = chosen();
    history.replaceState(null, "", query ? `/review?${query}` : "/review");
    mark();
    refresh();
  };
  form.addEventListener("change", (event) => {
    if (/** @type {HTMLElement} */ (event.target).id !== "view-name") changed();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void keep();
  });
  byId("keep").addEventListener("click", () => void keep());
  byId("bulk").addEventListener("click", () => void bulk(Object.fromEntries(new URLSearchParams(chosen())), decided));
  byId("views").addEventListener("click", (/** @type {Event} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.dataset.drop) void save({ drop: target.dataset.drop });
    else if (target.dataset.filters !== undefined) {
      set(JSON.parse(target.dataset.filters || "{}"));
      changed();
    }
  });
  mark();
}

async function keep() {
  const name = /** @type {HTMLInputElement} */ (byId("view-name"));
  if (!name.value.trim()) {
    name.focus();
    return;
  }
  await save({ name: name.value, ...Object.fromEntries(new URLSearchParams(chosen())) });
  name.value = "";
}

/** @param {Record<string, string>} fields */
async function save(fields) {
  const answer = /** @type {any} */ (await post("/review/views", fields));
  if (answer.ok) byId("views").innerHTML = answer.views;
  else toast(note(answer.text, "bad"));
  mark();
}

/**
 * Ask about one ruling for many cases, and make it.
 * @param {Record<string, string>} which a filter, or ``alike`` and a case
 * @param {(batch: string, ids: string[], said: string) => void} decided
 */
export async function bulk(which, decided) {
  const seen = await get(`/review/bulk?${new URLSearchParams(which)}`);
  if (!seen.ok) {
    toast(note(seen.text, "bad"));
    return;
  }
  const asked = build(seen.form);
  const body = /** @type {HTMLElement} */ (dialog.querySelector(".dialog-body"));
  dialog.className = "form";
  body.replaceChildren(asked);
  asked.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (asked)));
    dialog.close();
    const answer = /** @type {any} */ (await post("/review/bulk", { .../** @type {any} */ (fields), ids: seen.ids.join(" ") }));
    if (!answer.ok) {
      toast(note(answer.text, "bad"));
      return;
    }
    const said = answer.skipped
      ? say("bulk_some", { n: answer.decided, left: answer.skipped })
      : say("bulk_done", { n: answer.decided });
    decided(answer.batch, seen.ids, said);
  });
  dialog.showModal();
}
