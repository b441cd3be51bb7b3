// What a link shows: one transcript to read and download. Knows the link's own address and nothing else of the appliance.

import { announce, byId, el, setText } from "./dom.js";
import { clock, count, day, language, speakerName } from "./format.js";
import { paragraphs, talkTime } from "./paragraphs.js";

const COLOURS = 8; // of speakers, in page.css
const NAMES = { txt: "Text", srt: "SRT", vtt: "VTT", json: "JSON", csv: "CSV", docx: "Word", pdf: "PDF" };
const ADDRESS = `/api/v1/shared/${encodeURIComponent(decodeURIComponent(location.pathname.split("/")[2] ?? ""))}`;

// Why a link shows nothing, in words for somebody who only got it in a message.
const ENDED = {
  not_found: ["This link leads nowhere", "Check that it was copied whole. The transcript may also have been deleted."],
  share_expired: ["This link has expired", "Ask whoever sent it for a new one."],
  share_revoked: ["This link was withdrawn", "Whoever sent it has closed it. Ask them if you still need it."],
  share_used_up: ["This link is used up", "It has been opened as often as it may be. Ask whoever sent it for a new one."],
};

class Refusal extends Error {
  constructor(status, { error, code, hint } = {}, retryAfterS = 0) {
    super(error ?? "The appliance does not answer.");
    Object.assign(this, { status, code: code ?? "", hint: hint ?? "Check your network, then try again.", retryAfterS });
  }
}

async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(ADDRESS + path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    throw new Refusal(0);
  }
  if (response.ok) return response;
  throw new Refusal(response.status, await response.json().catch(() => ({})), Number(response.headers.get("Retry-After")));
}

// --- which of the three is seen ---

function show(id) {
  for (const name of ["door", "ended", "transcript"]) byId(name).hidden = name !== id;
}

async function arrive() {
  try {
    const state = await (await send("")).json();
    if (state.transcript) showTranscript(state);
    else if (!state.needs_password && state.views_left === null) await open(null);
    else showDoor(state);
  } catch (refusal) {
    showEnd(refusal);
  }
}

async function open(password) {
  const body = JSON.stringify(password === null ? {} : { password });
  showTranscript(await (await send("", { method: "POST", headers: { "Content-Type": "application/json" }, body })).json());
}

function showEnd(refusal) {
  const [title, text] = ENDED[refusal.code] ?? [refusal.message, refusal.hint];
  setText(byId("ended-title"), title);
  setText(byId("ended-text"), text);
  byId("again").hidden = refusal.code in ENDED;
  document.title = title;
  show("ended");
  byId("ended-title").focus();
}

// --- the door ---

function showDoor({ needs_password: needsPassword, views_left: viewsLeft }) {
  const limit = viewsLeft === null ? "" : `It can be opened ${count(viewsLeft, "more time", "more times")}.`;
  const how = needsPassword ? "It is protected by a password; whoever sent you the link knows it." : "";
  setText(byId("door-text"), [how, limit].filter(Boolean).join(" "));
  byId("password-field").hidden = !needsPassword;
  show("door");
  (needsPassword ? byId("password") : document.querySelector("#door-form button")).focus();
}

async function knock(event) {
  event.preventDefault();
  const field = byId("password");
  const password = byId("password-field").hidden ? null : field.value;
  if (password === "") return sayAtDoor("Type the password first.");
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    await open(password);
  } catch (refusal) {
    if (refusal.code in ENDED) showEnd(refusal);
    else sayAtDoor(wordsOf(refusal));
  } finally {
    button.disabled = false;
  }
}

function sayAtDoor(sentence) {
  setText(byId("door-problem"), sentence);
  byId("password").select();
}

function wordsOf({ code, message, hint, retryAfterS }) {
  if (code === "share_password_wrong") return "That is not the password.";
  if (code === "too_many_attempts") return `Too many wrong passwords. Try again ${waiting(retryAfterS)}.`;
  return `${message} ${hint}`;
}

const waiting = (seconds) => (seconds > 90 ? `in ${Math.ceil(seconds / 60)} minutes` : `in ${count(seconds, "second")}`);

// --- the transcript ---

function showTranscript({ transcript, expires_at: expiresAt }) {
  document.title = transcript.title;
  setText(byId("title"), transcript.title);
  setText(byId("facts"), factsOf(transcript));
  setText(byId("until"), expiresAt ? `Until ${day(expiresAt)}` : "");
  byId("downloads").replaceChildren(el("span", { "aria-hidden": "true" }, "Download"), ...transcript.formats.map(downloadButton));
  const talk = talkTime(transcript.segments);
  const look = appearance(transcript, talk);
  showSpeakers(talk, look);
  showDoubts(transcript.warnings);
  byId("text").replaceChildren(...textOf(transcript, look));
  show("transcript");
  byId("title").focus();
  announce(`Opened: ${transcript.title}`);
}

function factsOf({ created_at: createdAt, duration, languages, language: main }) {
  return [day(createdAt), `${clock(duration)} long`, (languages.length ? languages : [main]).map(language).join(", ")].join(" · ");
}

/** How each speaker is called and which colour is theirs. */
function appearance({ speakers }, talk) {
  const named = new Map(speakers.map((speaker) => [speaker.label, speaker]));
  const labels = talk.map(([label]) => label).sort();
  return (label) => ({
    name: speakerName(named.get(label) ?? { label }),
    colour: `speaker-${labels.indexOf(label) % COLOURS}`,
  });
}

function showSpeakers(talk, look) {
  const all = talk.reduce((sum, [, seconds]) => sum + seconds, 0);
  byId("speakers").hidden = talk.length === 0;
  byId("speakers").replaceChildren(
    ...talk.map(([label, seconds]) => {
      const { name, colour } = look(label);
      const share = el("span", { class: "share" }, `${Math.round((100 * seconds) / all)} %`);
      return el("li", { class: colour }, el("span", { class: "speaker" }, name), share);
    }),
  );
}

function showDoubts(warnings) {
  const everywhere = warnings.filter(({ start }) => start === null);
  byId("doubts").replaceChildren(...everywhere.map(({ message }) => el("p", { class: "caution" }, message)));
}

function textOf({ segments, warnings, language: main }, look) {
  const items = paragraphs(segments, warnings);
  return items.map((item, index) => (item.kind === "note" ? noteElement(item) : paragraph(item, items[index - 1], main, look)));
}

function paragraph(item, before, main, look) {
  const who = item.speaker ? look(item.speaker) : null;
  const isNew = who && item.speaker !== before?.speaker;
  const body = el("p", { lang: item.segments[0].language ?? main, dir: "auto" });
  item.segments.forEach(({ text, space_before: spaced }, index) => body.append(index && spaced ? " " : "", text.trim()));
  const margin = el("div", { class: "margin" }, isNew && el("span", { class: "speaker" }, who.name), el("time", {}, clock(item.start)));
  return el("div", { class: `paragraph ${who?.colour ?? ""}` }, margin, body);
}

function noteElement({ start, end, message }) {
  const span = end ? `${clock(start)}–${clock(end)}` : clock(start);
  return el("div", { class: "note-item", role: "note" }, el("div", { class: "margin" }, el("time", {}, span)), el("p", {}, message));
}

// --- downloads ---

const downloadButton = (format) =>
  el("button", { type: "button", onclick: (event) => download(format, event.currentTarget) }, NAMES[format] ?? format.toUpperCase());

async function download(format, button) {
  button.disabled = true;
  setText(byId("download-problem"), "");
  try {
    await save(await send(`/export/${format}`), format);
  } catch (refusal) {
    if (refusal.code === "share_not_opened") await arriveAgain();
    else if (refusal.code in ENDED) showEnd(refusal);
    else setText(byId("download-problem"), `${refusal.message} ${refusal.hint}`);
  } finally {
    button.disabled = false;
  }
}

/** The half hour is over: the door again, which a link without limits passes by itself. */
async function arriveAgain() {
  announce("The half hour is over. Open the link again to download.");
  await arrive();
}

async function save(response, format) {
  const name = /filename\*=UTF-8''([^;]+)/i.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
  const address = URL.createObjectURL(await response.blob());
  el("a", { href: address, download: name ? decodeURIComponent(name) : `transcript.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

byId("door-form").addEventListener("submit", knock);
byId("again").addEventListener("click", arrive);
arrive();
