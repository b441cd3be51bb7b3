// Subtitle cues from words: the same cues as the appliance's own exports make (appliance/export/subtitles.py, units.py,
// breaks.py), here for private transcripts, whose words the appliance does not have. Pure.

import { firstOf, isUnspaced, lastOf, needsSpace, split, strip, width } from "./private_unicode.js";

const PROFILE = { maxLine: 42, maxLines: 2, minS: 1.0, maxS: 7.0, maxPerS: 20.0, gapS: 2 / 25 };
const CUE_COST = 4.0;
const SHORT_COST = 4.0;
const FAST_COST = 0.5;
const SHORTEST_SLOT_MS = 200;
const RUN_PAUSE_S = 1.0;
const OPENING = new Set("([{«“‘「『（【《〈¿¡");
const SMALL_KANA = new Set("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々");

/** As Python rounds: halves to the even neighbour. */
export function round(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/** @returns cues `{startMs, endMs, lines, speaker}` */
export function makeCues(transcript) {
  const drafts = splitRuns(transcript.segments).flatMap((run) => splitRun(run).map((units) => draftOf(run.speaker, units)));
  drafts.sort((a, b) => a.startMs - b.startMs);
  const lines = drafts.map((draft) => wrap(draft.units).map(lineText));
  return timeCues(drafts, lines, round(transcript.duration * 1000));
}

function draftOf(speaker, units) {
  const startMs = Math.max(0, round(Math.min(...units.map((unit) => unit.start)) * 1000));
  const endMs = Math.max(startMs, round(Math.max(...units.map((unit) => unit.end)) * 1000));
  return { speaker, units, startMs, endMs };
}

// --- the smallest pieces ---

const makeUnit = (text, start, end, spaceBefore) => ({ text, start, end: Math.max(start, end), spaceBefore, columns: width(text) });

function splitRuns(segments) {
  const runs = [];
  let before = null;
  for (const segment of [...segments].sort((a, b) => a.start - b.start || a.id - b.id)) {
    const units = unitsOf(segment);
    if (!units.length) continue;
    if (before && goesOn(before, segment)) {
      const soFar = runs.at(-1).units;
      soFar.push(joinedTo(soFar.at(-1), units[0]), ...units.slice(1));
    } else {
      runs.push({ speaker: segment.speaker, units });
    }
    before = segment;
  }
  return runs.map(({ speaker, units }) => ({ speaker, units: inOrder(units) }));
}

function inOrder(units) {
  let latest = 0;
  return units.map((unit) => {
    latest = Math.max(latest, unit.start);
    return unit.start === latest ? unit : makeUnit(unit.text, latest, unit.end, unit.spaceBefore);
  });
}

function goesOn(before, segment) {
  const sameVoice = before.speaker === segment.speaker && before.channel === segment.channel;
  return sameVoice && before.end <= segment.start && segment.start <= before.end + RUN_PAUSE_S;
}

const joinedTo = (last, first) => makeUnit(first.text, first.start, first.end, needsSpace(lastOf(last.text), firstOf(first.text)));

function unitsOf(segment) {
  const units = [];
  let held = null;
  for (const unit of wordsOf(segment).flatMap(piecesOf)) {
    if (held && !unit.spaceBefore && !mayBreak(lastOf(held.text), firstOf(unit.text))) {
      held = makeUnit(held.text + unit.text, Math.min(held.start, unit.start), Math.max(held.end, unit.end), held.spaceBefore);
    } else {
      if (held) units.push(held);
      held = unit;
    }
  }
  return held ? [...units, held] : units;
}

function wordsOf(segment) {
  if (segment.words.length) {
    return segment.words
      .map((word) => ({ start: word.start, end: Math.max(word.start, word.end), text: split(word.text).join(" "), spaceBefore: word.space_before }))
      .filter((word) => word.text);
  }
  const texts = split(segment.text);
  const total = texts.reduce((sum, text) => sum + length(text), 0);
  const pace = Math.max(0, segment.end - segment.start) / Math.max(1, total);
  let at = 0;
  return texts.map((text) => {
    const word = { start: segment.start + at * pace, end: segment.start + (at + length(text)) * pace, text, spaceBefore: true };
    at += length(text);
    return word;
  });
}

const length = (text) => [...text].length;

function piecesOf(word) {
  const parts = width(word.text) > PROFILE.maxLine ? cut(word.text) : [word.text];
  const all = length(word.text);
  const pace = (word.end - word.start) / all;
  let at = 0;
  return parts.map((part) => {
    const [start, end] = [word.start + at * pace, word.start + (at + length(part)) * pace];
    at += length(part);
    return makeUnit(part, start, at === all ? word.end : end, word.spaceBefore && at === length(part));
  });
}

function cut(text) {
  const chars = [...text];
  const parts = [chars[0]];
  for (let n = 1; n < chars.length; n += 1) {
    if (mayBreak(chars[n - 1], chars[n])) parts.push(chars[n]);
    else parts[parts.length - 1] += chars[n];
  }
  return parts;
}

function mayBreak(left, right) {
  if (!isUnspaced(left) && !isUnspaced(right)) return false;
  if (OPENING.has(left) || SMALL_KANA.has(right)) return false;
  return /[\p{L}\p{N}]/u.test(right) || OPENING.has(right);
}

const lineText = (units) => units.map((unit, index) => (unit.spaceBefore && index ? " " : "") + unit.text).join("");
const columnsOf = (units) => units.reduce((sum, unit) => sum + unit.columns + Number(unit.spaceBefore), 0) - Number(units[0].spaceBefore);

// --- where to break ---

const SENTENCE_END = [...".?!…。！？؟।"];
const CLAUSE_END = [...",;:—–、，；：،؛", " -"];
const CLOSING = new Set("\"'”’»)]}」』）】》〉");
const OPENERS = new Set(
  `and but or so because although though while when if that which who where than then as
und aber oder weil obwohl während wenn dass denn sondern damit der die das als ob
et mais ou donc car parce que qui quand si lorsque puisque
y e pero o u porque que cuando si aunque mientras
ed ma o perché quando se mentre che
en maar omdat toen als dat
и а но или что чтобы потому когда если который хотя
й але або що щоб тому коли якщо який`.split(/\s+/),
);
const CLINGING = new Set(
  `a an the of to in on at by for with from into is are was were be my your his her our their not no very mr mrs ms dr
ein eine einen einem einer eines der die das den dem des im am zu von mit für auf in an bei nach herr frau
le la les un une des du de à au aux en dans sur pour avec par ne
el los las una unos de del al en por para con sin
il lo gli i di da con su per
het een van op met voor
в на с к у о от из за по до для не`.split(/\s+/),
);

function breakCost(left, right) {
  const chars = [...left.text];
  while (chars.length && CLOSING.has(chars.at(-1))) chars.pop();
  const end = chars.join("");
  const endsWith = (marks) => marks.some((mark) => end.endsWith(mark));
  if (endsWith(SENTENCE_END) && !isAbbreviation(end)) return 0;
  if (endsWith(CLAUSE_END)) return 1;
  let cost = 3 - Math.min(1.5, Math.max(0, right.start - left.end) * 3);
  if (OPENERS.has(right.text.toLowerCase())) cost = Math.min(cost, 1.5);
  else if (CLINGING.has(left.text.toLowerCase().replace(/\.+$/, ""))) cost += 2;
  return isInsideName(left.text, right.text) ? 6 : cost;
}

const isUpper = (char) => /^\p{Uppercase}$/u.test(char);

function isAbbreviation(text) {
  if (!text.endsWith(".")) return false;
  const known = ["mr", "mrs", "ms", "dr", "prof", "st", "nr", "no"].includes(text.slice(0, -1).toLowerCase());
  return known || (length(text) === 2 && isUpper(firstOf(text)));
}

function isInsideName(left, right) {
  const upper = isUpper(firstOf(left)) && isUpper(firstOf(right));
  return upper && (length(left) > 1 || left !== "I") && !CLAUSE_END.includes(lastOf(left));
}

/** The cheapest way to cut a run into cues: shortest path over all places where a cue may end. */
function splitRun({ units }) {
  const best = [[0, 0], ...units.map(() => [Infinity, 0])];
  for (let begin = 0; begin < units.length; begin += 1) {
    for (const [end, columns] of endsOf(units, begin)) {
      const cost = best[begin][0] + cueCost(units[begin], units[end - 1], units[end], columns);
      if (cost < best[end][0]) best[end] = [cost, begin];
    }
  }
  return cutAt(units, (end) => best[end][1]);
}

function cutAt(units, beginOf) {
  const pieces = [];
  for (let end = units.length; end > 0; end = beginOf(end)) pieces.unshift(units.slice(beginOf(end), end));
  return pieces;
}

function* endsOf(units, begin) {
  let [lines, filled] = [1, units[begin].columns];
  let total = filled;
  yield [begin + 1, total];
  for (let end = begin + 2; end <= units.length; end += 1) {
    const unit = units[end - 1];
    const needed = unit.columns + Number(unit.spaceBefore);
    if (filled + needed <= PROFILE.maxLine) filled += needed;
    else [lines, filled] = [lines + 1, unit.columns];
    if (lines > PROFILE.maxLines || unit.end - units[begin].start > PROFILE.maxS || unit.columns > PROFILE.maxLine) return;
    total += needed;
    yield [end, total];
  }
}

function cueCost(first, last, next, columns) {
  let cost = CUE_COST + (next ? breakCost(last, next) : 0);
  const roomS = next ? next.start - first.start : Math.max(last.end - first.start, PROFILE.minS);
  cost += SHORT_COST * Math.max(0, PROFILE.minS - roomS);
  return cost + FAST_COST * Math.max(0, columns / Math.max(roomS, 0.1) - PROFILE.maxPerS);
}

function wrap(units) {
  if (columnsOf(units) <= PROFILE.maxLine) return [units];
  const best = [[0, 0, 0], ...units.map(() => [units.length + 1, 0, 0])];
  for (let begin = 0; begin < units.length; begin += 1) {
    for (let end = begin + 1; end <= units.length; end += 1) {
      const columns = columnsOf(units.slice(begin, end));
      if (columns > PROFILE.maxLine && end > begin + 1) break;
      const waste = (Math.max(0, PROFILE.maxLine - columns) / PROFILE.maxLine) ** 2 * 4;
      const atBreak = end < units.length ? breakCost(units[end - 1], units[end]) : 0;
      const candidate = [best[begin][0] + 1, best[begin][1] + waste + atBreak, begin];
      if (isLess(candidate, best[end])) best[end] = candidate;
    }
  }
  return cutAt(units, (end) => best[end][2]);
}

function isLess(left, right) {
  const at = left.findIndex((value, index) => value !== right[index]);
  return at >= 0 && left[at] < right[at];
}

// --- how long to show ---

function timeCues(drafts, lines, durationMs) {
  const starts = startsOf(drafts);
  return drafts.map((draft, index) => {
    const startMs = starts[index];
    const wantedMs = Math.max(draft.endMs, startMs + readingMs(lines[index]));
    const longestMs = startMs + round(PROFILE.maxS * 1000);
    const endMs = Math.max(startMs + 1, Math.min(wantedMs, longestMs, limitOf(starts, index, durationMs, draft.endMs)));
    return { startMs, endMs, lines: lines[index], speaker: draft.speaker };
  });
}

function startsOf(drafts) {
  let freeMs = 0;
  return drafts.map((draft) => {
    const startMs = Math.max(draft.startMs, freeMs);
    const halfMs = Math.floor((draft.endMs - draft.startMs) / 2);
    const keptMs = Math.min(draft.endMs - startMs, Math.max(1000, halfMs));
    freeMs = startMs + Math.max(SHORTEST_SLOT_MS, keptMs);
    return startMs;
  });
}

function limitOf(starts, index, durationMs, spokenMs) {
  if (index + 1 === starts.length) return Math.max(durationMs, spokenMs, starts[index] + SHORTEST_SLOT_MS);
  const slotMs = starts[index + 1] - starts[index];
  return starts[index + 1] - Math.min(round(PROFILE.gapS * 1000), Math.floor(slotMs / 2));
}

function readingMs(lines) {
  const characters = lines.reduce((sum, line) => sum + length(line), 0) + lines.length - 1;
  return round(Math.max(PROFILE.minS, characters / PROFILE.maxPerS) * 1000);
}

/** Whether a segment has anything to read. */
export const isSpoken = (segment) => strip(segment.text) !== "";
