// The API key of this tab: asked for once, kept in sessionStorage only, never in an address or a cookie.

const SLOT = "appliance-key";

/** Takes `#key=…` over from the address and removes it there at once, before anything else can see it. */
export function takeKeyFromAddress() {
  const match = /^#key=([^&]+)/.exec(location.hash);
  if (!match) return false;
  history.replaceState(null, "", location.pathname + location.search);
  keepKey(decodeURIComponent(match[1]));
  return true;
}

export const currentKey = () => sessionStorage.getItem(SLOT) ?? "";
export const keepKey = (key) => sessionStorage.setItem(SLOT, key.trim());
export const forgetKey = () => sessionStorage.removeItem(SLOT);
