// One transcript: how far it is, what was said, by whom, and where there is doubt.

import * as api from "./api.js";
import { askDialog, confirmDialog } from "./dialogs.js";
import { announce, el, setText } from "./dom.js";
import { about, clock, count, day, language, percent, speakerName } from "./format.js";
import { doubtful, paragraphs, talkTime } from "./paragraphs.js";
import { PrivatePart } from "./private_part.js";
import { openSharing } from "./sharing.js";
import { hideTip, joiner, pointAt, segmentElement } from "./words.js";

const FORMATS = [
  ["txt", "Text"],
  ["srt", "SRT"],
  ["vtt", "VTT"],
  ["json", "JSON"],
  ["csv", "CSV"],
];
const COLOURS = 8; // of speakers, in page.css
const NEWS_IS_LATE_MS = 20_000;
const FOLLOW_PX = 160; // this near the end, the page follows what arrives

const STAGES = {
  decode: "Reading the file",
  detect: "Finding where somebody speaks, and in which language",
  recognize: "Writing down what is said",
  diarize: "Telling the speakers apart",
  save: "Saving the text",
};

export class TranscriptView {
  #abort = new AbortController();
  #record = null;
  #segments = [];
  #shown = []; // signatures of the paragraphs on the page
  #progress = null;
  #newsAt = performance.now();
  #clockTimer = 0;

  constructor(element, { onProblem, onChanged, onGone }) {
    Object.assign(this, { element, onProblem, onChanged, onGone });
    this.#build();
  }

  /** Shows one transcript and follows it until it ends or another one is shown. */
  async show(slug) {
    try {
      this.#take(await api.transcript(slug, this.#abort.signal));
      if (isRunning(this.#record.status)) await this.#follow(slug);
    } catch (error) {
      if (error.name !== "AbortError") this.onProblem(error, () => this.#refuse(error));
    }
  }

  close() {
    this.#abort.abort();
    this.private?.close();
    clearInterval(this.#clockTimer);
    hideTip();
  }

  // --- the frame ---

  #build() {
    this.title = el("h1", { id: "transcript-title", tabindex: "-1" }, "…");
    this.facts = el("p", { class: "facts" });
    this.actions = el("div", { class: "actions" });
    this.status = el("div", { class: "status card", hidden: true });
    this.problem = el("div", { class: "card failure", role: "alert", hidden: true });
    this.secret = el("div", { class: "private-part card", hidden: true });
    this.speakers = el("ul", { class: "speakers", "aria-label": "Speakers" });
    this.doubts = el("div", { class: "doubts" });
    this.text = el("div", { class: "text" });
    this.text.addEventListener("pointerover", pointAt);
    this.text.addEventListener("pointerleave", hideTip);
    this.element.replaceChildren(
      el("a", { class: "back", href: "#" }, "← All transcripts"),
      el("header", { class: "transcript-head" }, this.title, this.facts, this.actions),
      this.status,
      this.problem,
      this.secret,
      this.speakers,
      this.doubts,
      this.text,
    );
    this.#buildStatus();
  }

  #buildStatus() {
    this.stage = el("p", { class: "stage" });
    this.bar = el("progress", { max: "1", "aria-label": "How far the transcript is" });
    this.percent = el("span", { class: "percent" });
    this.eta = el("span", { class: "eta" });
    this.news = el("p", { class: "news", hidden: true });
    const cancel = el("button", { type: "button", class: "quiet small", onclick: () => this.#cancel() }, "Cancel");
    this.status.replaceChildren(
      el("div", { class: "status-top" }, this.stage, cancel),
      this.bar,
      el("p", { class: "status-figures" }, this.percent, this.eta),
      this.news,
    );
  }

  // --- the record ---

  #take(fetched) {
    const record = fetched.private ? this.#privately(fetched) : fetched;
    this.#record = record;
    this.#segments = record.segments ?? [];
    if (record.progress) this.#progress = record.progress;
    document.title = `${record.title} · Transcripts`;
    setText(this.title, record.title);
    setText(this.facts, factsOf(record));
    this.#renderActions();
    this.#renderStatus();
    this.#renderFailure();
    this.#renderText();
  }

  /** The text of a private transcript is not in what was fetched, but in an envelope, once it is opened here. */
  #privately(fetched) {
    this.private ??= new PrivatePart(this.secret, fetched.slug, { onChange: () => this.#take(this.fetched), onProblem: this.onProblem });
    this.fetched = fetched;
    if (fetched.status === "completed") this.private.begin();
    return this.private.fill(fetched);
  }

  async #follow(slug) {
    this.#clockTimer = setInterval(() => this.#renderNews(), 1000);
    for await (const { type, data } of api.follow(slug, this.#abort.signal)) {
      this.#newsAt = performance.now();
      this.#connected(type !== "lost");
      if (type === "state") this.#advance(data.status, data.progress);
      else if (type === "segments") this.#arrive(data);
    }
    clearInterval(this.#clockTimer);
    if (this.#abort.signal.aborted) return;
    this.#take(await api.transcript(slug, this.#abort.signal));
    announce(endOf(this.#record));
    this.onChanged();
  }

  #advance(status, progress) {
    const before = this.#progress;
    this.#progress = progress;
    this.#record.status = status;
    this.#renderStatus();
    if (before?.stage !== progress.stage && STAGES[progress.stage]) announce(STAGES[progress.stage]);
  }

  #arrive({ segments, replaces_all: replacesAll }) {
    const following = document.documentElement.scrollHeight - window.innerHeight - window.scrollY < FOLLOW_PX;
    const byStart = new Map((replacesAll ? [] : this.#segments).map((segment) => [segment.start, segment]));
    for (const segment of segments) byStart.set(segment.start, segment);
    this.#segments = [...byStart.values()].sort((a, b) => a.start - b.start);
    this.#renderText();
    if (following && this.#segments.length) window.scrollTo({ top: document.documentElement.scrollHeight });
  }

  // --- progress ---

  #renderStatus() {
    const running = isRunning(this.#record.status);
    this.status.hidden = !running;
    if (!running) return;
    const { stage, fraction = 0, eta_s: etaS, queue_position: position } = this.#progress ?? {};
    const waiting = this.#record.status === "queued";
    setText(this.stage, waiting ? queueSentence(position) : (STAGES[stage] ?? "Starting"));
    if (waiting || !fraction) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
    setText(this.percent, waiting ? "" : percent(fraction));
    setText(this.eta, waiting ? "" : etaSentence(etaS));
  }

  #connected(connected) {
    this.lost = !connected;
    this.#renderNews();
  }

  #renderNews() {
    const late = Math.round((performance.now() - this.#newsAt) / 1000);
    this.news.hidden = !this.lost && late * 1000 < NEWS_IS_LATE_MS;
    if (this.lost) setText(this.news, "The connection is lost. The work goes on; trying to connect again.");
    else if (!this.news.hidden) setText(this.news, `No news for ${late} seconds. Still connected.`);
  }

  #renderFailure() {
    const { status, failure } = this.#record;
    const failed = status === "failed" || status === "interrupted" || status === "cancelled";
    this.problem.hidden = !failed;
    if (!failed) return;
    const sentence = failure?.error ?? "The transcription did not finish.";
    this.problem.replaceChildren(el("p", { class: "failure-sentence" }, sentence), failure?.hint ? el("p", {}, failure.hint) : "");
  }

  #refuse(error) {
    setText(this.title, "Not to be shown");
    this.problem.hidden = false;
    this.problem.replaceChildren(el("p", { class: "failure-sentence" }, error.message), el("p", {}, error.hint ?? ""));
  }

  // --- what was said ---

  #renderText() {
    const named = new Map((this.#record.speakers ?? []).map((speaker) => [speaker.label, speaker]));
    const talk = talkTime(this.#segments);
    this.colours = new Map(talk.map(([label]) => label).sort().map((label, index) => [label, index % COLOURS]));
    this.nameOf = (label) => speakerName(named.get(label) ?? { label });
    this.#renderSpeakers(talk);
    this.#renderDoubts();
    this.#renderParagraphs(paragraphs(this.#segments, this.#record.warnings ?? []));
  }

  // Only what changed from the first difference on is built again: text that stands is left alone.
  #renderParagraphs(items) {
    const signatures = items.map((item, index) => this.#signature(item, items[index - 1]));
    let same = 0;
    while (same < signatures.length && signatures[same] === this.#shown[same]) same += 1;
    while (this.text.childElementCount > same) this.text.lastElementChild.remove();
    const fresh = document.createDocumentFragment();
    for (let index = same; index < items.length; index += 1) fresh.append(this.#item(items[index], items[index - 1]));
    this.text.append(fresh);
    this.#shown = signatures;
    this.text.classList.toggle("arriving", isRunning(this.#record.status));
  }

  #signature(item, before) {
    if (item.kind === "note") return `note ${item.start} ${item.code} ${item.message}`;
    const size = item.segments.reduce((sum, segment) => sum + segment.text.length, 0);
    return [item.start, item.end, item.segments.length, size, item.speaker && this.nameOf(item.speaker), before?.speaker].join(" ");
  }

  #item(item, before) {
    return item.kind === "note" ? noteElement(item) : this.#paragraph(item, item.speaker !== before?.speaker);
  }

  #paragraph(item, newSpeaker) {
    const colour = item.speaker ? ` speaker-${this.colours.get(item.speaker)}` : "";
    const body = el("p", { lang: item.segments[0].language ?? this.#record.language ?? null, dir: "auto" });
    item.segments.forEach((segment, index) => body.append(index ? joiner(segment) : "", segmentElement(segment)));
    return el(
      "div",
      { class: `paragraph${colour}`, "data-start": item.start },
      el("div", { class: "margin" }, newSpeaker && item.speaker ? this.#speakerButton(item.speaker) : "", el("time", {}, clock(item.start))),
      body,
    );
  }

  #speakerButton(label) {
    const name = this.nameOf(label);
    if (!this.#isReadable()) return el("span", { class: "speaker" }, name);
    return el("button", { type: "button", class: "speaker", title: "Give this speaker a name", onclick: () => this.#rename(label) }, name);
  }

  #renderSpeakers(talk) {
    const all = talk.reduce((sum, [, seconds]) => sum + seconds, 0);
    this.speakers.hidden = talk.length === 0;
    this.speakers.replaceChildren(
      ...talk.map(([label, seconds]) =>
        el(
          "li",
          { class: `speaker-${this.colours.get(label)}` },
          this.#speakerButton(label),
          el("span", { class: "share" }, `${Math.round((100 * seconds) / all)} %`),
        ),
      ),
    );
  }

  #renderDoubts() {
    const warnings = this.#record.warnings ?? [];
    const everywhere = warnings.filter((warning) => warning.start === null || warning.start === undefined);
    const places = warnings.filter((warning) => !everywhere.includes(warning));
    const { words, doubts } = doubtful(this.#segments);
    const lines = everywhere.map((warning) => el("p", { class: "caution" }, warning.message));
    if (places.length) lines.push(this.#placesLine(places));
    if (doubts && !isRunning(this.#record.status)) {
      const legend = el("span", { class: "doubt" }, "underlined with dots");
      lines.push(el("p", { class: "legend" }, `${doubts.toLocaleString()} of ${count(words, "word")} heard with doubt, `, legend, "."));
    }
    this.doubts.replaceChildren(...lines);
  }

  #placesLine(places) {
    const links = places.slice(0, 12).map((place) =>
      el("button", { type: "button", class: "place", onclick: () => this.#goTo(place.start) }, clock(place.start)),
    );
    const rest = places.length > links.length ? ` and ${places.length - links.length} more` : "";
    return el("p", { class: "caution" }, `${count(places.length, "place")} to check: `, ...links, rest);
  }

  #goTo(start) {
    const note = this.text.querySelector(`.note-item[data-start="${start}"]`);
    note?.scrollIntoView({ block: "center" });
    note?.focus({ preventScroll: true });
  }

  // --- what can be done ---

  #isReadable() {
    return this.#record.status === "completed" && (!this.private || this.private.isOpen);
  }

  #renderActions() {
    const done = this.#isReadable();
    const downloads = FORMATS.map(([format, name]) =>
      el("button", { type: "button", onclick: (event) => this.#save(format, event.currentTarget) }, name),
    );
    this.actions.replaceChildren(
      done ? el("div", { class: "downloads", role: "group", "aria-label": "Download" }, el("span", { "aria-hidden": "true" }, "Download"), ...downloads) : "",
      isRunning(this.#record.status) ? "" : this.#changes(done),
    );
  }

  #changes(done) {
    const button = (name, more, onclick) => el("button", { type: "button", class: `quiet ${more}`, onclick }, name);
    return el(
      "div",
      { class: "changes" },
      done && !this.private ? button("Share", "", () => this.#share()) : "",
      done ? button("Rename", "", () => this.#retitle()) : "",
      button("Delete", "delete", () => this.#delete()),
    );
  }

  #share() {
    const onMoved = (record) => {
      this.#take(record);
      this.onChanged();
    };
    return this.#try(() => openSharing(this.#record, { onMoved }));
  }

  async #try(action) {
    try {
      return await action();
    } catch (error) {
      this.onProblem(error, () => announceProblem(this.problem, error));
      return null;
    }
  }

  async #save(format, button) {
    button.disabled = true;
    await this.#try(async () => (this.private ? this.private.save(format) : api.saveExport(this.#record.slug, format)));
    button.disabled = false;
  }

  async #rename(label) {
    const given = this.#record.speakers.find((speaker) => speaker.label === label)?.name ?? "";
    const name = await askDialog({ title: `Who is ${this.nameOf(label)}?`, label: "Name", value: given });
    if (name === null || name === given) return;
    await this.#edit({ speakers: { [label]: name || null } });
  }

  async #retitle() {
    const title = await askDialog({ title: "Rename this transcript", label: "Title", value: this.#record.title });
    if (!title || title === this.#record.title) return;
    await this.#edit({ title });
    this.onChanged();
  }

  /** On the revision that is shown: an edit that somebody else made meanwhile is not written over, but said. */
  async #edit(changes) {
    await this.#try(async () => {
      const { slug, revision } = this.#record;
      if (this.private) await this.private.edit(changes);
      this.#take(this.private ? this.fetched : await api.edit(slug, { revision, ...changes }));
      announce("Saved");
    });
  }

  async #cancel() {
    const sure = await confirmDialog({
      title: "Stop this transcription?",
      text: "The recording leaves the memory at once, and what has been written so far is not kept.",
      action: "Stop it",
      cancel: "Let it go on",
    });
    if (sure && (await this.#try(() => api.remove(this.#record.slug)))) this.onGone();
  }

  async #delete() {
    const sure = await confirmDialog({
      title: `Delete “${this.#record.title}”?`,
      text: "Its text is erased from the database for good. Nobody can bring it back.",
      action: "Delete for good",
    });
    if (sure && (await this.#try(() => api.remove(this.#record.slug)))) this.onGone();
  }
}

// --- pieces that need no view ---

const isRunning = (status) => status === "queued" || status === "processing";

function factsOf(record) {
  const facts = [day(record.created_at)];
  if (record.duration) facts.push(`${clock(record.duration)} long`);
  if (record.status === "completed" && (!record.private || record.language)) facts.push((record.languages?.length ? record.languages : [record.language]).map(language).join(", "));
  if (record.model) facts.push(record.model);
  return facts.join(" · ");
}

function queueSentence(position) {
  if (!position) return "Waiting for its turn";
  if (position === 1) return "Next in line";
  return `Waiting: ${count(position - 1, "recording")} before this one`;
}

const etaSentence = (seconds) => (seconds === null || seconds === undefined ? "time left not known yet" : `${about(seconds)} left`);

function endOf(record) {
  if (record.status === "completed") return `Finished: ${record.title}`;
  return record.failure?.error ?? "The transcription did not finish.";
}

function announceProblem(box, error) {
  box.hidden = false;
  box.replaceChildren(el("p", { class: "failure-sentence" }, error.message), el("p", {}, error.hint ?? ""));
  box.scrollIntoView({ block: "nearest" });
}

function noteElement(note) {
  const span = note.end ? `${clock(note.start)}–${clock(note.end)}` : clock(note.start);
  return el(
    "div",
    { class: "note-item", "data-start": note.start, tabindex: "-1", role: "note" },
    el("div", { class: "margin" }, el("time", {}, span)),
    el("p", {}, note.message),
  );
}
