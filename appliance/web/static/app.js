// Starts the page and decides which view is seen. Views never know each other.

import { Compose } from "./compose.js";
import { announce, byId, setText } from "./dom.js";
import { currentKey, forgetKey, keepKey, takeKeyFromAddress } from "./key.js";
import { Shelf } from "./shelf.js";
import { TranscriptView } from "./transcript.js";

const VIEWS = ["key", "compose", "transcript"];
let open = null; // the transcript that is shown
let ready = false; // lists and choices are loaded with the present key

takeKeyFromAddress();
const shelf = new Shelf({ onProblem });
const compose = new Compose({ onAccepted, onProblem });

function reveal(view) {
  document.body.dataset.view = view;
  for (const each of VIEWS) byId(`${each}-view`).hidden = each !== view;
  for (const node of document.querySelectorAll("[data-needs-key]")) node.hidden = view === "key";
}

async function route() {
  open?.close();
  open = null;
  if (!currentKey()) return askForKey("");
  if (!ready) await prepare();
  if (!currentKey()) return undefined;
  const slug = /^#t\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
  shelf.select(slug);
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

async function prepare() {
  ready = true;
  try {
    await Promise.all([compose.loadChoices(), shelf.load()]);
  } catch (error) {
    onProblem(error, () => setText(byId("shelf-note"), `${error.message} ${error.hint}`));
  }
}

// --- the key ---

function askForKey(problem) {
  document.title = "Transcripts";
  reveal("key");
  setText(byId("key-problem"), problem);
  byId("key-input").focus();
}

function dropKey(problem) {
  forgetKey();
  ready = false;
  open?.close();
  open = null;
  shelf.clear();
  askForKey(problem);
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = byId("key-input");
  if (!input.value.trim()) return setText(byId("key-problem"), "Paste the key first.");
  keepKey(input.value);
  input.value = "";
  return route();
});

byId("key-button").addEventListener("click", () => dropKey(""));

// --- what happens in the views ---

/** A key that does not work leads back to the question for it; everything else is shown where it happened. */
function onProblem(error, showHere) {
  if (error.status === undefined) throw error;
  if (error.status !== 401) showHere();
  else if (currentKey()) dropKey("The appliance does not know this key. It may have been revoked."); // else: said already
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
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !currentKey()) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "n") {
    location.hash = "";
  }
});

window.addEventListener("hashchange", () => {
  if (takeKeyFromAddress()) ready = false;
  route();
});
route();
