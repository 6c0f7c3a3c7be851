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
const REST = 60000;

let cursor = document.body.dataset.cursor ?? "";
let wait = SHORTEST;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let worry;
let closing = false;
/** @type {EventSource | undefined} */
let source;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let rest;

function connect() {
  source?.close();
  source = new EventSource(`/events?after=${encodeURIComponent(cursor)}`);
  listen(source);
}

/** @param {EventSource} source */
function listen(source) {
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
    setTimeout(() => document.hidden || connect(), wait);
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

/**
 * A page that nobody looks at lets go of its connection: a browser has only six for one server.
 * It missed nothing when it is looked at again, because it then reads everything anew.
 */
function looked() {
  clearTimeout(rest);
  if (document.hidden) rest = setTimeout(() => source?.close(), REST);
  else if (source?.readyState === EventSource.CLOSED) connect();
}

/** Start listening. */
export function startLive() {
  document.addEventListener("visibilitychange", looked);
  addEventListener("pagehide", () => (closing = true));
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  connect();
  setInterval(look, LOOK);
}
