// Who uses this page: a person with a session, whose cookie no script can read, or whoever holds the API key of this tab.

import { currentKey } from "./key.js";

const NOBODY = { signed_in: false, setup_needed: false, csrf_token: null, person: null, scopes: [], key: null };
const SAFE = ["GET", "HEAD"];

let state = NOBODY;

export const adopt = (answer) => (state = answer);
export const forgetSession = () => (state = NOBODY);
export const setupNeeded = () => state.setup_needed;
export const person = () => (currentKey() ? null : state.person);
/** Name and owner of this tab's key; null without one, and for one that the appliance does not know. */
export const keyInUse = () => (currentKey() ? state.key : null);
export const isIn = () => Boolean(currentKey()) || state.signed_in;
export const isAdministrator = () => person()?.role === "admin";

/** The headers that show who is asking. A key wins over the cookie; only a cookie needs the token against other sites. */
export function proof(method = "GET") {
  if (currentKey()) return { Authorization: `Bearer ${currentKey()}` };
  return SAFE.includes(method) || !state.csrf_token ? {} : { "X-CSRF-Token": state.csrf_token };
}

export const cookies = () => (currentKey() ? "omit" : "same-origin");
