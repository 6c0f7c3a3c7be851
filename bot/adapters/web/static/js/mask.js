// @ts-check
/** Painting what to draw anew over a picture: mouse, finger, pen and keyboard. */

import { announce, byId, make, say } from "./dom.js";

const STEPS = 20;
/** Strokes that can be taken back. */
const LONGEST = 1024;
/** Longest side of the mask in pixels; the engine fits it to the picture. */

/**
 * @param {string} label
 * @param {() => void} act
 */
function button(label, act) {
  const made = /** @type {HTMLButtonElement} */ (make("button", "button", label));
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

/** One mask in the making: white is what is drawn anew. */
class Painting {
  /**
   * @param {ImageBitmap} picture
   * @param {ImageBitmap | null} before
   */
  constructor(picture, before) {
    const scale = Math.min(1, LONGEST / Math.max(picture.width, picture.height));
    const width = Math.max(1, Math.round(picture.width * scale));
    const height = Math.max(1, Math.round(picture.height * scale));
    this.view = document.createElement("canvas");
    this.mask = document.createElement("canvas");
    for (const canvas of [this.view, this.mask]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.picture = picture;
    this.radius = Math.max(2, Math.round(Math.max(width, height) / 16));
    this.erasing = false;
    /** @type {{x: number, y: number} | null} */
    this.last = null;
    this.brush = { x: width / 2, y: height / 2 };
    this.steering = false;
    /** @type {ImageData[]} */
    this.undone = [];
    const paper = this.paper();
    paper.fillStyle = "black";
    paper.fillRect(0, 0, width, height);
    if (before) paper.drawImage(before, 0, 0, width, height);
    this.show();
  }

  paper() {
    return /** @type {CanvasRenderingContext2D} */ (
      this.mask.getContext("2d", { willReadFrequently: true })
    );
  }

  keep() {
    const { width, height } = this.mask;
    this.undone.push(this.paper().getImageData(0, 0, width, height));
    if (this.undone.length > STEPS) this.undone.shift();
  }

  /** @param {number} x @param {number} y */
  to(x, y) {
    const paper = this.paper();
    paper.strokeStyle = paper.fillStyle = this.erasing ? "black" : "white";
    paper.lineWidth = 2 * this.radius;
    paper.lineCap = paper.lineJoin = "round";
    paper.beginPath();
    paper.moveTo(this.last?.x ?? x, this.last?.y ?? y);
    paper.lineTo(x, y);
    paper.stroke();
    // A line of no length is not drawn, as the standard says and browsers now do: one touch is a dot.
    paper.beginPath();
    paper.arc(x, y, this.radius, 0, 2 * Math.PI);
    paper.fill();
    this.last = { x, y };
    this.brush = { x, y };
    this.show();
  }

  undo() {
    const before = this.undone.pop();
    if (before) this.paper().putImageData(before, 0, 0);
    this.show();
  }

  /** @param {(value: number) => number} change */
  all(change) {
    this.keep();
    const { width, height } = this.mask;
    const pixels = this.paper().getImageData(0, 0, width, height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      pixels.data.fill(change(pixels.data[at]), at, at + 3);
    }
    this.paper().putImageData(pixels, 0, 0);
    this.show();
  }

  /** The picture with what is masked in colour, and the brush where the keyboard has it. */
  show() {
    const { width, height } = this.view;
    const paper = /** @type {CanvasRenderingContext2D} */ (this.view.getContext("2d"));
    paper.clearRect(0, 0, width, height);
    paper.drawImage(this.picture, 0, 0, width, height);
    const tint = document.createElement("canvas");
    tint.width = width;
    tint.height = height;
    const ink = /** @type {CanvasRenderingContext2D} */ (tint.getContext("2d"));
    const pixels = this.paper().getImageData(0, 0, width, height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      const on = pixels.data[at];
      pixels.data.set([235, 60, 160, on * 0.62], at);
    }
    ink.putImageData(pixels, 0, 0);
    paper.drawImage(tint, 0, 0);
    if (!this.steering) return;
    for (const [colour, more] of /** @type {[string, number][]} */ ([["white", 2], ["black", 0]])) {
      paper.strokeStyle = colour;
      paper.lineWidth = 2;
      paper.beginPath();
      paper.arc(this.brush.x, this.brush.y, this.radius + more, 0, 2 * Math.PI);
      paper.stroke();
    }
  }

  /** @param {PointerEvent} event */
  place(event) {
    const box = this.view.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.view.width,
      y: ((event.clientY - box.top) / box.height) * this.view.height,
    };
  }

  /** Whether anything is masked. */
  get empty() {
    const { width, height } = this.mask;
    const { data } = this.paper().getImageData(0, 0, width, height);
    for (let at = 0; at < data.length; at += 4) if (data[at] > 127) return false;
    return true;
  }
}

/**
 * Ask for a mask over a picture; resolves with a PNG file, or null when it was called off.
 * @param {ImageBitmap} picture
 * @param {ImageBitmap | null} before the mask drawn so far
 * @returns {Promise<File | null>}
 */
export function paintMask(picture, before) {
  /** @type {HTMLDialogElement} */
  const dialog = byId("dialog");
  const body = /** @type {HTMLElement} */ (dialog.querySelector(".dialog-body"));
  const painting = new Painting(picture, before);
  const { view } = painting;

  const heading = make("h2", "", say("mask_title"));
  heading.id = "mask-title";
  view.className = "painting";
  view.tabIndex = 0;
  view.setAttribute("role", "application");
  view.setAttribute("aria-labelledby", heading.id);
  const help = make("small", "", say("mask_help"));
  help.id = "mask-help";
  view.setAttribute("aria-describedby", help.id);

  const size = /** @type {HTMLInputElement} */ (document.createElement("input"));
  size.type = "range";
  size.id = "mask-brush";
  size.min = "2";
  size.max = String(Math.round(Math.max(view.width, view.height) / 4));
  size.value = String(painting.radius);
  const label = /** @type {HTMLLabelElement} */ (make("label", "", say("mask_brush")));
  label.htmlFor = size.id;
  const brush = () => {
    painting.radius = Number(size.value);
    painting.show();
  };
  size.addEventListener("input", brush);

  const eraser = button(say("mask_erase"), () => {
    painting.erasing = !painting.erasing;
    eraser.setAttribute("aria-pressed", String(painting.erasing));
  });
  eraser.setAttribute("aria-pressed", "false");
  const undo = () => painting.undo();
  const tools = make("div", "actions mask-tools");
  const ruler = make("div", "mask-brush");
  ruler.append(label, size);
  tools.append(
    ruler,
    eraser,
    button(say("mask_undo"), undo),
    button(say("mask_invert"), () => painting.all((value) => 255 - value)),
    button(say("mask_clear"), () => painting.all(() => 0)),
  );

  view.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    view.focus({ preventScroll: true });
    view.setPointerCapture(event.pointerId);
    painting.keep();
    painting.steering = false;
    painting.last = null;
    const { x, y } = painting.place(event);
    painting.to(x, y);
  });
  view.addEventListener("pointermove", (event) => {
    if (!painting.last) return;
    const { x, y } = painting.place(event);
    painting.to(x, y);
  });
  for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
    view.addEventListener(end, () => (painting.last = null));
  }
  view.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? painting.radius * 2 : Math.max(1, painting.radius / 2);
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) {
      painting.steering = true;
      painting.brush = {
        x: Math.min(view.width, Math.max(0, painting.brush.x + move[0] * step)),
        y: Math.min(view.height, Math.max(0, painting.brush.y + move[1] * step)),
      };
      painting.show();
    } else if (event.key === " ") {
      painting.keep();
      painting.steering = true;
      painting.last = null;
      painting.to(painting.brush.x, painting.brush.y);
      painting.last = null;
    } else if (event.key === "[" || event.key === "]") {
      size.value = String(Number(size.value) + (event.key === "]" ? 4 : -4));
      brush();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
    else return;
    event.preventDefault();
  });

  return new Promise((resolve) => {
    let kept = false;
    const done = button(say("mask_done"), () => {
      if (painting.empty) {
        announce(say("mask_title"));
        view.focus();
        return;
      }
      kept = true;
      painting.mask.toBlob((blob) => {
        dialog.close();
        resolve(blob && new File([blob], "mask.png", { type: "image/png" }));
      });
    });
    done.classList.add("primary");
    const cancel = button(say("close"), () => dialog.close());
    const ends = make("div", "actions end");
    ends.append(cancel, done);
    dialog.addEventListener("close", () => kept || resolve(null), { once: true });
    if (dialog.open) dialog.close();
    dialog.className = "wide";
    dialog.setAttribute("aria-labelledby", heading.id);
    body.replaceChildren(heading, view, help, tools, ends);
    dialog.showModal();
    view.focus();
  });
}
