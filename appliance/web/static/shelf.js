// The list of earlier transcripts: newest first, searchable, and true while work goes on.

import * as api from "./api.js";
import { byId, el, setText } from "./dom.js";
import { clock, count, day, percent } from "./format.js";

const PAGE = 30;
const TYPING_PAUSE_MS = 180;
const POLL_MS = 2500; // only while something is unfinished and the page is looked at

const STATES = {
  queued: "Waiting",
  processing: "In the works",
  failed: "Failed",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
};
const isRunning = (status) => status === "queued" || status === "processing";

export class Shelf {
  #results = [];
  #count = 0;
  #query = "";
  #current = null;
  #newest = null; // the request whose answer counts
  #timer = 0;
  #typing = 0;

  constructor({ onProblem }) {
    this.onProblem = onProblem;
    this.list = byId("shelf-list");
    byId("search").addEventListener("input", (event) => this.#type(event.target.value));
    byId("shelf-more").addEventListener("click", () => this.load({ more: true }));
    document.addEventListener("visibilitychange", () => this.#poll());
  }

  /** Marks the transcript that is open. */
  select(slug) {
    this.#current = slug;
    this.#render();
  }

  async load({ more = false } = {}) {
    this.#newest?.abort();
    const request = (this.#newest = new AbortController());
    const offset = more ? this.#results.length : 0;
    const limit = more ? PAGE : Math.max(PAGE, this.#results.length);
    try {
      const page = await api.list({ query: this.#query, limit, offset, signal: request.signal });
      this.#results = more ? [...this.#results, ...page.results] : page.results;
      this.#count = page.count;
      this.#render();
    } catch (error) {
      if (error.name !== "AbortError") this.onProblem(error, () => setText(byId("shelf-note"), error.message));
    }
    this.#poll();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#newest?.abort();
    this.#results = [];
    this.list.replaceChildren();
  }

  #type(text) {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => {
      this.#query = text.trim();
      this.#results = [];
      this.load();
    }, TYPING_PAUSE_MS);
  }

  #poll() {
    clearTimeout(this.#timer);
    const busy = this.#results.some((result) => isRunning(result.status));
    if (busy && !document.hidden) this.#timer = setTimeout(() => this.load(), POLL_MS);
  }

  #render() {
    const focused = document.activeElement?.dataset?.slug;
    this.list.replaceChildren(...this.#results.map((result) => this.#item(result)));
    if (focused) this.list.querySelector(`[data-slug="${CSS.escape(focused)}"]`)?.focus();
    byId("shelf-more").hidden = this.#results.length >= this.#count;
    setText(byId("shelf-note"), this.#note());
  }

  #note() {
    if (this.#query) return this.#count ? count(this.#count, "transcript") + " with these words" : "Nothing with these words.";
    return this.#count ? "" : "Nothing yet. What you send appears here.";
  }

  #item(result) {
    const current = result.slug === this.#current;
    return el(
      "li",
      {},
      el(
        "a",
        { href: `#t/${result.slug}`, class: "shelf-item", "data-slug": result.slug, "aria-current": current ? "page" : null },
        el("span", { class: "shelf-item-title" }, result.title),
        el("span", { class: `shelf-item-facts state-${result.status}` }, facts(result)),
        found(result.snippets),
      ),
    );
  }
}

function facts(result) {
  if (result.status === "completed") {
    return [day(result.created_at), result.duration ? clock(result.duration) : ""].filter(Boolean).join(" · ");
  }
  const state = STATES[result.status] ?? result.status;
  const fraction = result.progress?.fraction;
  const detail = result.status === "processing" && fraction ? percent(fraction) : day(result.created_at);
  return `${state} · ${detail}`;
}

const AROUND = 24; // characters before and after a match

/** The first place where the search found something in the text, with the match marked. */
function found(snippets) {
  const snippet = snippets?.find((each) => each.segment !== null && each.marks.length);
  if (!snippet) return null;
  const text = [...snippet.text]; // offsets count characters, not UTF-16 units
  const [from, to] = snippet.marks[0];
  const piece = (start, end) => text.slice(Math.max(0, start), end).join("");
  const before = (from > AROUND ? "…" : "") + piece(from - AROUND, from);
  const after = piece(to, to + AROUND) + (to + AROUND < text.length ? "…" : "");
  return el("span", { class: "shelf-item-found" }, before, el("mark", {}, piece(from, to)), after);
}
