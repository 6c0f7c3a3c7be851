// @ts-check
/** The secret of a link is behind its `#`, which no server and no preview ever gets. */

import { byId } from "./dom.js";

/** @type {HTMLInputElement} */ (byId("door").querySelector("[name=link]")).value = location.hash.slice(1);
// Not in the history either, and not in a screenshot of the address bar.
history.replaceState(null, "", location.pathname);
