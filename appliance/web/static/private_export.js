// Documents of a private transcript, made in the browser: the same text as the appliance's own exports (appliance/export/).
// In: the JSON document that was decrypted. Pure: no document tree, no network.

import { isSpoken, makeCues } from "./private_subtitles.js";
import { isRightToLeft, joinTexts, LEADING_SPACE, split, width } from "./private_unicode.js";

const MEDIA_TYPES = {
  txt: "text/plain; charset=utf-8",
  srt: "application/x-subrip; charset=utf-8",
  vtt: "text/vtt; charset=utf-8",
  json: "application/json",
  csv: "text/csv; charset=utf-8; header=present",
};
const RENDER = {
  txt: ({ transcript }) => renderTxt(transcript),
  srt: ({ transcript }) => makeCues(transcript).map((cue, index) => `${index + 1}\n${srtCue(cue)}\n\n`).join(""),
  vtt: ({ transcript }) => renderVtt(makeCues(transcript), speakerNames(transcript)),
  json: (document) => JSON.stringify(document),
  csv: ({ transcript }) => renderCsv(transcript),
};

/** @returns `{text, mediaType, filename}` */
export function exportDocument(document, format) {
  return { text: RENDER[format](document), mediaType: MEDIA_TYPES[format], filename: documentName(document.audio.filename, format) };
}

const speakerNames = (transcript) => new Map(transcript.speakers.map(({ label, name }) => [label, name || label]));

// --- text ---

const PARAGRAPH_PAUSE_S = 2.0;
const PARAGRAPH_COLUMNS = 800;

function renderTxt(transcript) {
  const names = speakerNames(transcript);
  return paragraphs(transcript.segments.filter(isSpoken))
    .map((paragraph) => {
      const { speaker } = paragraph[0];
      return `${speaker ? `${names.get(speaker) ?? speaker}: ` : ""}${joinTexts(paragraph.map((segment) => segment.text))}\n`;
    })
    .join("\n");
}

function paragraphs(segments) {
  const found = [];
  let columns = 0;
  let before = null;
  for (const segment of segments) {
    const isNewTurn = before && (before.speaker !== segment.speaker || segment.start - before.end > PARAGRAPH_PAUSE_S);
    if (!before || isNewTurn || columns > PARAGRAPH_COLUMNS) {
      found.push([]);
      columns = 0;
    }
    found.at(-1).push(segment);
    columns += width(segment.text);
    before = segment;
  }
  return found;
}

// --- subtitles ---

const pad = (n, digits) => String(n).padStart(digits, "0");

function time(ms, point) {
  const clock = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60].map((n) => pad(n, 2)).join(":");
  return `${clock}${point}${pad(ms % 1000, 3)}`;
}

const srtCue = (cue) => [`${time(cue.startMs, ",")} --> ${time(cue.endMs, ",")}`, ...cue.lines.map(srtLine)].join("\n");

function srtLine(text) {
  const safe = text.replaceAll("-->", "→");
  return isRightToLeft(safe) ? `\u202b${safe}\u202c` : safe;
}

function renderVtt(cues, names) {
  const cue = (each) => `${time(each.startMs, ".")} --> ${time(each.endMs, ".")}\n${payload(each, names)}\n\n`;
  return `WEBVTT\n\n${cues.map(cue).join("")}`;
}

function payload(cue, names) {
  const text = cue.lines.map(escape).join("\n");
  if (cue.speaker === null) return text;
  const name = split(names.get(cue.speaker) ?? cue.speaker).join(" ");
  return name ? `<v ${escape(name)}>${text}</v>` : text;
}

const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// --- a table ---

const COLUMNS = ["segment", "start", "end", "speaker", "language", "text"];
const FORMULA = new RegExp(`^${LEADING_SPACE}[=+\\-@\\t\\r\\n＝＋－＠]`, "u");
const NUMBER = /^[+-]?\p{Nd}+([.,]\p{Nd}+)?%?$/u;

function renderCsv(transcript) {
  const names = speakerNames(transcript);
  const rows = transcript.segments.map((segment) => [
    String(segment.id),
    thousandths(segment.start),
    thousandths(segment.end),
    safeCell(segment.speaker ? (names.get(segment.speaker) ?? segment.speaker) : ""),
    segment.language ?? "",
    safeCell(segment.text),
  ]);
  return `\ufeff${[COLUMNS, ...rows].map((row) => `${row.map(quote).join(",")}\r\n`).join("")}`;
}

const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

function safeCell(text) {
  const clean = text.replaceAll("\0", "");
  return FORMULA.test(clean) && !NUMBER.test(clean) ? `'${clean}` : clean;
}

/** Three digits, halves to the even neighbour as Python writes them: a half of a thousandth is exact in sixteenths only. */
function thousandths(seconds) {
  const text = seconds.toFixed(3);
  const isHalf = Number.isInteger(seconds * 16) && (seconds * 16) % 2 !== 0;
  if (!isHalf || Number(text.at(-1)) % 2 === 0) return text;
  return ((Math.round(Number(text) * 1000) - Math.sign(seconds)) / 1000).toFixed(3);
}

// --- the name of the file ---

const MAX_NAME_BYTES = 180;
const RESERVED = /^(con|prn|aux|nul|com\p{Nd}|lpt\p{Nd})(\..*)?$/iu;

function documentName(recordingName, extension) {
  const last = recordingName.split(/[/\\]/).at(-1);
  const dot = last.lastIndexOf(".");
  const stem = (dot > 0 ? last.slice(0, dot) : "") || last;
  const clean = stem.normalize("NFC").replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, "").replace(/[<>:"/\\|?*]/g, "_");
  const short = trim(firstBytes(trim(clean), MAX_NAME_BYTES)) || "transcript";
  return `${RESERVED.test(short) ? "_" : ""}${short}.${extension}`;
}

const trim = (text) => text.replace(/^[ .]+|[ .]+$/g, "");

function firstBytes(text, limit) {
  let bytes = 0;
  let kept = "";
  for (const char of text) {
    bytes += new TextEncoder().encode(char).length;
    if (bytes > limit) break;
    kept += char;
  }
  return kept;
}
