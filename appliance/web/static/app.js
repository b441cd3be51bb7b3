// Starts the page and decides which view is seen. Views never know each other.

import { Account } from "./account.js";
import * as api from "./api.js";
import { Box } from "./box.js";
import { Compose } from "./compose.js";
import { Door, UNKNOWN_KEY, takeErrorFromAddress, takeLinkFromAddress } from "./door.js";
import { announce, byId, setText } from "./dom.js";
import { currentKey, forgetKey, takeKeyFromAddress } from "./key.js";
import { People } from "./people.js";
import { forgetAll } from "./private.js";
import { Privacy } from "./privacy.js";
import { forgetSession, isAdministrator, isIn, keyInUse, person } from "./session.js";
import { Shelf } from "./shelf.js";
import { Teams } from "./teams.js";
import { TranscriptView } from "./transcript.js";

const VIEWS = ["door", "compose", "transcript", "desk"];
const DESKS = { account: Account, people: People, teams: Teams, appliance: Box, privacy: Privacy };
let open = null; // the transcript that is shown
let ready = false; // lists and choices are loaded for whoever is in

const offeredKey = takeKeyFromAddress();
const shelf = new Shelf({ onProblem });
const compose = new Compose({ onAccepted, onProblem });
const door = new Door(byId("door-view"), { onOpened: enter });

function reveal(view) {
  document.body.dataset.view = view;
  for (const each of VIEWS) byId(`${each}-view`).hidden = each !== view;
  for (const node of document.querySelectorAll("[data-inside]")) node.hidden = view === "door" || !mayUse(node.dataset.inside);
  byId("menu").open = false;
}

/** What only a person, or only an administrator, can use is not shown to a key, or to others. */
const mayUse = (whom) => whom === "" || (whom === "person" && person() !== null) || (whom === "key" && currentKey() !== "") || (whom === "admin" && isAdministrator());

async function route() {
  open?.close();
  open = null;
  const link = takeLinkFromAddress();
  if (link) return showDoor("", link);
  if (!isIn()) return showDoor(takeErrorFromAddress());
  if (ready) showNotices(); // a licence may have been installed elsewhere; nobody waits for the answer
  else await prepare();
  if (!isIn()) return undefined;
  const slug = /^#t\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
  const desk = DESKS[location.hash.slice(1)];
  shelf.select(slug);
  if (desk) return showDesk(desk);
  return slug ? showTranscript(slug) : showCompose();
}

function showCompose() {
  document.title = "Transcripts";
  reveal("compose");
}

function showTranscript(slug) {
  reveal("transcript");
  window.scrollTo({ top: 0 });
  open = new TranscriptView(byId("transcript-view"), { onProblem, onChanged: () => shelf.load(), onGone });
  byId("main").focus({ preventScroll: true });
  return open.show(slug);
}

async function showDesk(Desk) {
  const place = byId("desk-view");
  place.replaceChildren();
  reveal("desk");
  window.scrollTo({ top: 0 });
  try {
    await new Desk(place, { onLicence: showNotices }).show();
    document.title = place.querySelector("h1").textContent;
  } catch (error) {
    onProblem(error, () => setText(place, `${error.message} ${error.hint}`));
  }
  byId("main").focus({ preventScroll: true });
}

async function prepare() {
  ready = true;
  setText(byId("menu-name"), person()?.name ?? "");
  setText(byId("on-behalf-text"), onWhoseBehalf());
  try {
    await Promise.all([compose.loadChoices(), shelf.load(), showNotices()]);
  } catch (error) {
    onProblem(error, () => setText(byId("shelf-note"), `${error.message} ${error.hint}`));
  }
}

function onWhoseBehalf() {
  const { name, owner } = keyInUse() ?? {}; // nothing when the appliance did not answer
  if (!name) return "You work with an API key.";
  if (owner) return `You work as ${owner.name} (${owner.email}), with the API key “${name}”.`;
  return `You work with the API key “${name}”. Whoever has it can read what you add.`;
}

/** What the licence has to say concerns administrators, and everybody once nothing new may be sent. */
async function showNotices() {
  const licence = await api.get("/v1/licence").catch(() => null);
  if (licence === null || !isIn()) return; // no answer: what stands there stays
  const { notices, restricted } = licence;
  const pressing = restricted || isAdministrator() ? notices[0] : null;
  byId("banner").hidden = !pressing;
  setText(byId("banner"), pressing ? `${pressing.sentence} ${isAdministrator() ? pressing.hint : ""}` : "");
}

// --- the door ---

function showDoor(problem, link = null) {
  showDoorView();
  return door.show(problem, link);
}

function showDoorView() {
  document.title = "Transcripts";
  reveal("door");
}

function enter() {
  ready = false;
  return route();
}

/** Everything of whoever was in leaves the page. */
function leave(problem) {
  const hadKey = currentKey() !== "";
  forgetKey();
  forgetSession();
  forgetAll();
  ready = false;
  open?.close();
  open = null;
  shelf.clear();
  byId("desk-view").replaceChildren();
  byId("transcript-view").replaceChildren();
  for (const id of ["banner", "unused-key"]) byId(id).hidden = true;
  reveal("door");
  return hadKey ? door.showKey(problem) : door.show(problem);
}

byId("key-button").addEventListener("click", () => leave(""));
byId("sign-out").addEventListener("click", async () => {
  await api.erase("/api/v1/session").catch(() => {});
  await leave("");
});

// --- what happens in the views ---

/** Who is not known any more comes back to the door; everything else is shown where it happened. */
function onProblem(error, showHere) {
  if (error.status === undefined) throw error;
  if (error.status !== 401) return showHere();
  if (!isIn()) return undefined; // said already
  return leave(currentKey() ? UNKNOWN_KEY : `${error.message} ${error.hint}`);
}

function onAccepted(accepted, last) {
  shelf.load();
  announce("Accepted");
  if (last && document.body.dataset.view === "compose") location.hash = `#t/${accepted.slug}`;
}

function onGone() {
  location.hash = "";
  shelf.load();
  announce("Deleted");
}

// --- the keyboard ---

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !isIn()) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "n") {
    location.hash = "";
  }
});

/** A link with a key never takes the place of who is in, nor opens anything unasked: what they send would belong to whoever made it. */
async function arrive(key) {
  byId("unused-key").hidden = !key || !isIn() || key === currentKey();
  setText(byId("unused-key"), byId("unused-key").hidden ? "" : unusedKey());
  if (!key || isIn()) return route();
  showDoorView();
  return door.offerKey(key);
}

function unusedKey() {
  if (person()) return `The key of that link is not used: you are signed in as ${person().name}. To use it, sign out first.`;
  return "The key of that link is not used: this tab works with another one. To use it, forget that one first.";
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && ready && isIn()) showNotices();
});
window.addEventListener("hashchange", () => arrive(takeKeyFromAddress()));
await api.readSession().catch(() => {});
arrive(offeredKey);
