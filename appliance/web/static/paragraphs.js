// From segments and warnings to what is read: paragraphs of one speaker, with notes where something is in doubt.
// Pure: no document, no network.

const PAUSE_S = 2.5; // a silence this long starts a new paragraph
const LONG_S = 40; // beyond this, a paragraph ends with the next sentence
const TOO_LONG_S = 90; // beyond this it ends anyhow
const ENDS_SENTENCE = /[.?!…。？！।؟]["'”’»)\]]*$/u;

/** Below this probability a word is shown as doubtful. */
export const DOUBT = 0.5;

/**
 * @param segments ordered by start
 * @param warnings those with a `start` become notes at their place; the others are left to the caller
 * @returns items `{kind: "speech", start, end, speaker, segments}` and `{kind: "note", start, end, code, message}`
 */
export function paragraphs(segments, warnings = []) {
  const notes = warnings.filter((warning) => warning.start !== null && warning.start !== undefined);
  notes.sort((a, b) => a.start - b.start);
  const items = [];
  let open = null;
  let next = 0;
  const placeNotes = (before) => {
    while (next < notes.length && notes[next].start < before) {
      items.push({ kind: "note", ...notes[next] });
      next += 1;
      open = null;
    }
  };
  for (const segment of segments) {
    placeNotes(segment.start);
    if (!open || startsAnew(open, segment)) {
      open = { kind: "speech", start: segment.start, end: segment.end, speaker: segment.speaker ?? null, segments: [] };
      items.push(open);
    }
    open.segments.push(segment);
    open.end = segment.end;
  }
  placeNotes(Infinity);
  return items;
}

function startsAnew(open, segment) {
  if ((segment.speaker ?? null) !== open.speaker) return true;
  if (segment.start - open.end > PAUSE_S) return true;
  const length = open.end - open.start;
  return length > TOO_LONG_S || (length > LONG_S && ENDS_SENTENCE.test(open.segments.at(-1).text));
}

/** Seconds of speech by speaker label, most first. */
export function talkTime(segments) {
  const total = new Map();
  for (const { speaker, start, end } of segments) {
    if (speaker) total.set(speaker, (total.get(speaker) ?? 0) + Math.max(0, end - start));
  }
  return [...total].sort((a, b) => b[1] - a[1]);
}

/** How many words there are, and how many of them are doubtful. */
export function doubtful(segments) {
  let [words, doubts] = [0, 0];
  for (const segment of segments) {
    for (const word of segment.words ?? []) {
      words += 1;
      if (word.probability < DOUBT) doubts += 1;
    }
  }
  return { words, doubts };
}
