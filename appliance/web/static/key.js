// The API key of this tab: asked for once, kept in sessionStorage only, never in an address or a cookie.

const SLOT = "appliance-key";

/** Removes `#key=…` from the address at once, before anything else can see it. Returns the key, or "". */
export function takeKeyFromAddress() {
  const match = /^#key=([\w-]+)/.exec(location.hash);
  if (!match) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return match[1];
}

export const currentKey = () => sessionStorage.getItem(SLOT) ?? "";
export const keepKey = (key) => sessionStorage.setItem(SLOT, key.trim());
export const forgetKey = () => sessionStorage.removeItem(SLOT);
