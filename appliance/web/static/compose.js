// The start page: options, the place to drop recordings, and what is being sent right now.

import * as api from "./api.js";
import { announce, byId, el, setText } from "./dom.js";
import { about, bytes, percent } from "./format.js";
import { keep, prepare } from "./private.js";
import { PrivateForm } from "./private_form.js";

const MOST_SPEAKERS = 20;
const SPEAKER_FIELDS = {
  detect: { diarize: "true" },
  off: { diarize: "false" },
  channels: { channels: "separate" },
};

export class Compose {
  #queue = [];
  #refused = false;
  #sending = false;

  /** @param onAccepted called with the appliance's answer and whether nothing else is waiting to be sent */
  constructor({ onAccepted, onProblem }) {
    this.onAccepted = onAccepted;
    this.onProblem = onProblem;
    this.privacy = new PrivateForm();
    fillSpeakers(byId("speakers"));
    byId("files").addEventListener("change", (event) => {
      this.add(event.target.files);
      event.target.value = ""; // the same file may be chosen again
    });
    byId("options").addEventListener("submit", (event) => event.preventDefault());
    this.#acceptDrops();
    window.addEventListener("beforeunload", (event) => this.#sending && event.preventDefault());
  }

  /** Fills the choices that depend on the appliance; a key that may only read gets a sentence instead of the form. */
  async loadChoices() {
    try {
      const [models, languages, teams] = await Promise.all([api.models(), api.languages(), api.teams()]);
      fillTeams(byId("team"), teams);
      byId("team-field").hidden = !teams.length;
      fillModels(byId("model"), models.models);
      fillLanguages(byId("language"), languages.languages);
      this.#allow("");
    } catch (error) {
      if (error.status !== 403) throw error;
      this.#allow("This key may read transcripts, but not send recordings.");
    }
  }

  #allow(refusal) {
    this.#refused = refusal !== "";
    for (const id of ["options", "drop"]) byId(id).hidden = this.#refused;
    byId("not-allowed").hidden = !this.#refused;
    setText(byId("not-allowed"), refusal);
  }

  add(files) {
    if (this.#refused) return;
    const fields = chosenFields(); // as they are now; later changes are for later recordings
    const privacy = files.length ? this.privacy.read() : null;
    if (privacy === false) return; // said there
    const added = [...files].map((file) => new Sending(file, fields, privacy, (sending) => this.#forget(sending)));
    if (!added.length) return;
    if (privacy) this.privacy.clear();
    this.#queue.push(...added);
    byId("upload-list").append(...added.map((sending) => sending.element));
    this.#showHeading();
    announce(added.length === 1 ? `Sending ${added[0].file.name}` : `Sending ${added.length} recordings`);
    this.#sendNext();
  }

  #acceptDrops() {
    const drop = byId("drop");
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0;
    const light = (change) => drop.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
    // The whole window takes drops: a recording that misses the frame must not replace the page.
    window.addEventListener("dragenter", (event) => carriesFiles(event) && light(1));
    window.addEventListener("dragleave", (event) => carriesFiles(event) && light(-1));
    window.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      light(-depth);
      if (document.body.dataset.view === "compose") this.add(event.dataTransfer.files);
    });
    window.addEventListener("paste", (event) => {
      if (document.body.dataset.view === "compose" && event.clipboardData?.files.length) this.add(event.clipboardData.files);
    });
  }

  // One after the other: two uploads at once only make both slower.
  async #sendNext() {
    if (this.#sending) return;
    const sending = this.#queue.find((each) => !each.settled);
    if (!sending) return;
    this.#sending = true;
    try {
      const accepted = await sending.send();
      this.#forget(sending);
      this.onAccepted(accepted, this.#queue.length === 0);
    } catch (error) {
      if (error.name !== "AbortError") this.onProblem(error, () => sending.fail(error));
    }
    this.#sending = false;
    this.#showHeading();
    this.#sendNext();
  }

  #showHeading() {
    byId("uploads").hidden = this.#queue.length === 0;
    setText(byId("uploads-title"), this.#queue.some((each) => !each.settled) ? "Being sent" : "Not sent");
  }

  #forget(sending) {
    this.#queue = this.#queue.filter((each) => each !== sending);
    const hadFocus = sending.element.contains(document.activeElement);
    sending.element.remove();
    this.#showHeading();
    if (hadFocus) byId("files").focus();
  }
}

/** One recording on its way, and the line that shows it. */
class Sending {
  #abort = new AbortController();
  #key = api.idempotencyKey(); // the same for every attempt, so that a repeated one is harmless
  settled = false;

  constructor(file, fields, privacy, onGone) {
    this.file = file;
    this.prepared = privacy && prepare(file, privacy.password, privacy);
    this.fields = fields;
    this.onGone = onGone;
    this.bar = el("progress", { max: "1", value: "0", "aria-label": `Sending ${file.name}` });
    this.state = el("span", { class: "upload-state" }, "Next in line");
    this.stop = el("button", { type: "button", class: "quiet small", "aria-label": `Do not send ${file.name}`, onclick: () => this.#cancel() }, "Cancel");
    this.element = el(
      "li",
      { class: "upload" },
      el("span", { class: "upload-name" }, file.name),
      el("span", { class: "upload-size" }, bytes(file.size)),
      this.stop,
      this.bar,
      this.state,
    );
  }

  async send() {
    const prepared = await this.prepared;
    for (;;) {
      try {
        const accepted = await this.#attempt(prepared);
        if (prepared) keep(accepted.slug, prepared.secret);
        return accepted;
      } catch (error) {
        if (error.status !== 503 || !error.retryAfterS) throw error;
        await this.#waitToRetry(error);
      }
    }
  }

  fail(error) {
    this.settled = true;
    this.element.classList.add("failed");
    this.bar.remove();
    this.state.replaceChildren(el("strong", {}, error.message), " ", error.hint ?? "");
    setText(this.stop, "Dismiss");
    this.stop.setAttribute("aria-label", `Dismiss ${this.file.name}`);
    announce(`${this.file.name}: ${error.message}`);
  }

  #attempt(prepared) {
    const started = performance.now();
    const onProgress = (sent) => this.#show(sent, (performance.now() - started) / 1000);
    return api.upload(prepared?.file ?? this.file, { ...this.fields, ...prepared?.fields }, { key: this.#key, onProgress, signal: this.#abort.signal });
  }

  #show(sent, elapsedS) {
    const fraction = this.file.size ? sent / this.file.size : 1;
    this.bar.value = fraction;
    if (fraction >= 1) return setText(this.state, "Sent. Waiting for the appliance to accept it");
    const left = elapsedS > 2 && sent > 0 ? `, ${about((elapsedS / sent) * (this.file.size - sent))} left` : "";
    return setText(this.state, `Sending: ${bytes(sent)} of ${bytes(this.file.size)}, ${percent(fraction)}${left}`);
  }

  async #waitToRetry(error) {
    this.bar.value = 0;
    for (let left = error.retryAfterS; left > 0; left -= 1) {
      setText(this.state, `${error.message} Sending it again in ${left} s.`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (this.#abort.signal.aborted) throw new DOMException("Not wanted any more", "AbortError");
    }
  }

  #cancel() {
    this.settled = true;
    this.#abort.abort();
    this.onGone(this);
  }
}

function chosenFields() {
  const form = new FormData(byId("options"));
  const fields = { language: form.get("language") };
  if (form.get("model")) fields.model = form.get("model");
  if (form.get("hotwords").trim()) fields.hotwords = form.get("hotwords").trim();
  if (form.get("team") && !byId("private").checked) fields.workspace = form.get("team"); // what is private is one person's
  return { ...fields, ...SPEAKER_FIELDS[form.get("speakers")] ?? { diarize: "true", speakers: form.get("speakers") } };
}

function fillSpeakers(select) {
  const choices = [["detect", "Detect"], ["off", "Do not tell apart"], ["channels", "One per channel (calls)"]];
  select.append(...choices.map(([value, name]) => el("option", { value }, name)));
  for (let n = 2; n <= MOST_SPEAKERS; n += 1) select.append(el("option", { value: String(n) }, `${n} speakers`));
}

function fillModels(select, models) {
  const ordered = [...models].sort((a, b) => Number(b.default) - Number(a.default)); // the site's default first, and chosen
  const options = ordered.map((model) => el("option", { value: model.id, title: model.description }, model.name));
  select.replaceChildren(...(options.length ? options : [el("option", { value: "" }, "None is installed")]));
}

function fillTeams(select, teams) {
  const options = teams.map((team) => el("option", { value: team.id }, team.name));
  select.replaceChildren(el("option", { value: "" }, "Only you"), ...options);
}

function fillLanguages(select, languages) {
  const options = languages.map(({ code, name }) => el("option", { value: code }, name));
  select.replaceChildren(el("option", { value: "auto" }, "Detect"), ...options);
}
