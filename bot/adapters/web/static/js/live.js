// @ts-check
/** Live events: cards as they change, and a calm recovery when the connection is lost. */

import { refresh, refreshBalance, unreachable } from "./cards.js";
import { byId, toast } from "./dom.js";
import { get, Unreachable } from "./net.js";
import { put, quietJobs, reread } from "./timeline.js";

const link = byId("link");
const TERMINAL = new Set(["succeeded", "failed", "rejected", "cancelled"]);
const SHORTEST = 500;
const LONGEST = 4000;
const LOOK = 4000;

let cursor = document.body.dataset.cursor ?? "";
let wait = SHORTEST;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let worry;
let closing = false;

function connect() {
  const source = new EventSource(`/events?after=${encodeURIComponent(cursor)}`);
  source.addEventListener("open", () => {
    clearTimeout(worry);
    worry = undefined;
    link.hidden = true;
    wait = SHORTEST;
  });
  source.addEventListener("card", (event) => {
    cursor = event.lastEventId;
    const { job, status, card } = JSON.parse(event.data);
    put(job, card);
    if (TERMINAL.has(status)) refreshBalance();
  });
  source.addEventListener("resync", async (event) => {
    cursor = event.lastEventId;
    try {
      await reread();
      refreshBalance();
    } catch {
      // the safety net below asks for what is still open
    }
  });
  source.addEventListener("error", () => {
    if (closing) return;
    worry ??= setTimeout(() => (link.hidden = false), 1500);
    source.close();
    setTimeout(connect, wait);
    if (wait === LONGEST) signedOut();
    wait = Math.min(wait * 2, LONGEST);
  });
}

/** Say so when it is not the network but the token. */
async function signedOut() {
  try {
    await get("/timeline");
  } catch (error) {
    if (error instanceof Unreachable && error.status === 401) toast(unreachable(error), 0);
  }
}

/** Places in line move without an event of their own; and an event can be lost. */
async function look() {
  if (document.hidden) return;
  for (const job of quietJobs()) {
    try {
      await refresh(job);
    } catch {
      return;
    }
  }
}

/** Start listening. */
export function startLive() {
  addEventListener("pagehide", () => (closing = true));
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  connect();
  setInterval(look, LOOK);
}
