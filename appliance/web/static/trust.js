// The page that hands out the certificate authority: fills in what only this appliance knows, and opens the reader's own system.

const FOREIGN = {
  files: "There is nothing to install from here: this appliance shows a certificate that its owner brought. If your browser warns, ask whoever runs the appliance which authority signed it.",
  acme: "There is nothing to install from here: this appliance’s certificate comes from an authority of your own network. If your browser warns, ask whoever runs the network for it.",
  off: "There is nothing to install from here: this appliance does not encrypt connections itself. What stands in front of it does.",
};

const byId = (id) => document.getElementById(id);

/** "AB:CD:…" in lines of eight bytes, as people read it aloud. */
export function inGroups(fingerprint) {
  const bytes = fingerprint.split(":");
  const lines = [];
  for (let i = 0; i < bytes.length; i += 8) lines.push(bytes.slice(i, i + 8).join(":"));
  return lines;
}

/** The id of the instructions for a browser, by its user agent. */
export function systemOf(agent, touchPoints = 0) {
  if (/firefox/i.test(agent) && !/android/i.test(agent)) return "firefox";
  if (/android/i.test(agent)) return "android";
  if (/iphone|ipad/i.test(agent) || (/macintosh/i.test(agent) && touchPoints > 1)) return "ios";
  if (/macintosh/i.test(agent)) return "macos";
  if (/windows/i.test(agent)) return "windows";
  if (/fedora|red hat/i.test(agent)) return "fedora";
  return "debian";
}

function showFingerprint(fingerprint) {
  const place = byId("fingerprint");
  place.replaceChildren();
  for (const line of inGroups(fingerprint)) place.append(line, document.createElement("br"));
}

function showAuthority(state) {
  showFingerprint(state.authority.fingerprint_sha256);
  byId("authority-name").textContent = state.authority.name;
  byId("authority-end").textContent = new Date(state.authority.not_after).toLocaleDateString(undefined, { dateStyle: "long" });
  byId("names").textContent = state.certificate.names.join(", ");
  byId("facts").hidden = false;
}

function showForeign(mode) {
  byId("own").hidden = true;
  byId("foreign").hidden = false;
  byId("foreign-text").textContent = FOREIGN[mode];
}

async function show() {
  byId(systemOf(navigator.userAgent, navigator.maxTouchPoints)).open = true;
  try {
    const answer = await fetch("/v1/tls");
    if (!answer.ok) throw new Error(answer.statusText);
    const state = await answer.json();
    if (state.authority) showAuthority(state);
    else showForeign(state.mode);
  } catch {
    const place = byId("fingerprint");
    place.classList.add("unknown");
    place.textContent = "The appliance did not tell its fingerprint. Load this page again; do not install anything before you have compared it.";
  }
}

show();
