// @ts-check
/** Pictures in: chosen, dropped or pasted; shown small before they are sent. */

import { byId, make, note, say, toast } from "./dom.js";

const KINDS = ["image/png", "image/jpeg", "image/webp"];
/** Text files, for the commands that take one; browsers know no common type for Markdown. */
const TEXT = /\.(md|markdown|txt|text)$/i;
const MOST = 4;
const LARGEST = 10 * 2 ** 20;

/** What waits to be sent with the next line. @type {File[]} */
let waiting = [];

/**
 * Whether a file can be read here; says why not.
 * @param {File} file
 */
function fits(file) {
  let wrong = "";
  if (!KINDS.includes(file.type) && !TEXT.test(file.name)) wrong = say("upload_format");
  else if (file.size > LARGEST) wrong = say("upload_large");
  if (wrong) toast(note(wrong, "warn"));
  return !wrong;
}

/**
 * The pictures in something dropped or pasted.
 * @param {DataTransfer | null} data
 */
const picturesIn = (data) => [...(data?.files ?? [])].filter((file) => file.type.startsWith("image/"));

/**
 * Show a chosen picture in its field.
 * @param {HTMLElement} drop
 */
function show(drop) {
  const input = /** @type {HTMLInputElement} */ (drop.querySelector("input"));
  const shown = /** @type {HTMLElement} */ (drop.querySelector(".put-shown"));
  const image = /** @type {HTMLImageElement} */ (shown.querySelector("img"));
  const file = input.files?.[0];
  if (image.src) URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  shown.hidden = !file;
  drop.classList.toggle("filled", Boolean(file));
  if (file) image.src = URL.createObjectURL(file);
}

/**
 * Put one picture into a field, as if it had been chosen there.
 * @param {HTMLElement} drop
 * @param {File | undefined} file none empties it
 */
export function put(drop, file) {
  const input = /** @type {HTMLInputElement} */ (drop.querySelector("input"));
  const held = new DataTransfer();
  if (file) held.items.add(file);
  input.files = held.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Draw the tray above the line. */
function tray() {
  const list = byId("attached");
  for (const image of list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  list.hidden = !waiting.length;
  list.replaceChildren(
    ...waiting.map((file, index) => {
      const item = make("li", "");
      const text = TEXT.test(file.name);
      const image = text ? make("span", "", file.name) : new Image(48, 48);
      if (image instanceof HTMLImageElement) {
        image.src = URL.createObjectURL(file);
        image.alt = say("picture_number", { n: index + 1 });
      }
      const remove = make("button", "button small plain", "×");
      remove.setAttribute("type", "button");
      remove.setAttribute("aria-label", say("remove"));
      remove.addEventListener("click", () => {
        waiting.splice(index, 1);
        tray();
        byId("line").focus();
      });
      item.append(image, remove);
      return item;
    }),
  );
}

/** @param {File[]} files */
function attach(files) {
  waiting = [...waiting, ...files.filter(fits)].slice(0, MOST);
  tray();
}

/** What waits to be sent with the next line; it goes on waiting. */
export const attachedNow = () => [...waiting];

/** Take what waits: the caller sends it. */
export function takeAttached() {
  const taken = waiting;
  waiting = [];
  tray();
  return taken;
}

/**
 * What was not sent waits again.
 * @param {File[]} files
 */
export function giveBack(files) {
  waiting = files;
  tray();
}

/** Fields for pictures, in the panel and in dialogues. */
export function startPictures() {
  document.addEventListener("change", (event) => {
    const drop = /** @type {HTMLElement} */ (event.target).closest?.("[data-put]");
    if (!drop) return;
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (input.files?.[0] && !fits(input.files[0])) input.value = "";
    show(/** @type {HTMLElement} */ (drop));
  });
  document.addEventListener("click", (event) => {
    const remove = /** @type {HTMLElement} */ (event.target).closest("[data-unput]");
    if (!remove) return;
    event.preventDefault();
    put(/** @type {HTMLElement} */ (remove.closest("[data-put]")), undefined);
  });
  document.addEventListener("reset", (event) => {
    const form = /** @type {HTMLElement} */ (event.target);
    setTimeout(() => form.querySelectorAll("[data-put]").forEach((drop) => show(/** @type {any} */ (drop))));
  });
  document.addEventListener("dragover", (event) => {
    if (![...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file")) return;
    event.preventDefault();
    document.documentElement.dataset.dragging = "";
  });
  for (const end of ["dragleave", "drop", "dragend"]) {
    document.addEventListener(end, (event) => {
      if (end !== "dragleave" || !(/** @type {DragEvent} */ (event).relatedTarget)) {
        delete document.documentElement.dataset.dragging;
      }
    });
  }
  document.addEventListener("drop", (event) => {
    const files = picturesIn(event.dataTransfer);
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault(); // never leave the page for a file that missed its field
    if (!files.length) return toast(note(say("upload_format"), "warn"));
    const drop = /** @type {HTMLElement} */ (event.target).closest?.("[data-put]");
    if (drop) put(/** @type {HTMLElement} */ (drop), files[0]);
    else if (byId("attached")) attach(files);
  });
  document.addEventListener("paste", (event) => {
    const files = picturesIn(event.clipboardData);
    if (!files.length) return;
    event.preventDefault();
    const drop = /** @type {HTMLElement} */ (event.target).closest?.("[data-put]");
    if (drop) put(/** @type {HTMLElement} */ (drop), files[0]);
    else if (byId("attached")) attach(files);
  });
  const chooser = byId("attach-file");
  if (!chooser) return;
  byId("attach").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    attach([...chooser.files]);
    chooser.value = "";
    byId("line").focus();
  });
}
