// @ts-check
/** Filters of the queue, the views a moderator keeps, and one ruling for all that is shown. */

import { unreachable } from "./cards.js";
import { show } from "./dialogs.js";
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
    if (its.toString() === ours.toString()) chip.setAttribute("aria-current", "true");
    else chip.removeAttribute("aria-current");
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

/**
 * What the server says; null, and said so, when it could not be asked.
 * @param {() => Promise<any>} question
 */
async function asked(question) {
  try {
    return await question();
  } catch (error) {
    toast(unreachable(error));
    return null;
  }
}

/** @param {Record<string, string>} fields */
async function save(fields) {
  const answer = await asked(() => post("/review/views", fields));
  if (!answer) return;
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
  const seen = await asked(() => get(`/review/bulk?${new URLSearchParams(which)}`));
  if (!seen) return;
  if (!seen.ok) {
    toast(note(seen.text, "bad"));
    return;
  }
  const form = build(seen.form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (form)));
    dialog.close();
    const answer = await asked(() => post("/review/bulk", { .../** @type {any} */ (fields), ids: seen.ids.join(" ") }));
    if (!answer) return;
    if (!answer.ok) {
      toast(note(answer.text, "bad"));
      return;
    }
    const said = answer.skipped
      ? say("bulk_some", { n: answer.decided, left: answer.skipped })
      : say("bulk_done", { n: answer.decided });
    decided(answer.batch, seen.ids, said);
  });
  show("form", form);
}
