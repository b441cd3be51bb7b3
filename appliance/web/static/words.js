// The words of a segment: doubtful ones underlined, each with its time and how sure the model was of it.

import { byId, el, setText } from "./dom.js";
import { clock, sureness } from "./format.js";
import { DOUBT } from "./paragraphs.js";

const segmentsOf = new WeakMap();

/** What stands between this segment and the one before it. */
export const joiner = (segment) => (segment.words?.[0]?.space_before === false ? "" : " ");

// Only doubtful words are elements from the start: 4,500 segments would otherwise be 60,000 of them.
export function segmentElement(segment) {
  const node = el("span", { class: "segment" });
  segmentsOf.set(node, segment);
  fill(node, segment, (word) => word.probability < DOUBT);
  return node;
}

function wholeWords(node) {
  fill(node, segmentsOf.get(node), () => true);
  node.dataset.whole = "yes";
}

function fill(node, segment, asElement) {
  if (!segment.words?.length) return node.replaceChildren(segment.text.trim());
  const parts = [];
  segment.words.forEach((word, index) => {
    if (index && word.space_before !== false) parts.push(" ");
    parts.push(asElement(word) ? wordElement(word) : word.word);
  });
  return node.replaceChildren(...parts);
}

function wordElement(word) {
  const facts = `${clock(word.start)} · ${sureness(word.probability)} sure`;
  return el("span", { class: word.probability < DOUBT ? "doubt" : null, "data-word": facts }, word.word);
}

/** For the text as a whole: spells out the segment under the pointer, and shows what is known of the word there. */
export function pointAt(event) {
  const segment = event.target.closest(".segment");
  if (segment && !segment.dataset.whole) wholeWords(segment);
  const word = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-word]");
  if (word) showTip(word);
  else hideTip();
}

function showTip(word) {
  const tip = byId("tip");
  setText(tip, word.dataset.word);
  tip.hidden = false;
  const box = word.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), window.innerWidth - tip.offsetWidth - 8);
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${box.top + window.scrollY - tip.offsetHeight - 6}px`;
}

export function hideTip() {
  byId("tip").hidden = true;
}
