// What the exports must know of characters, as the appliance's own exports know it (appliance/writing.py). Pure.

// Ranges of code points in base 36: the distance from the end of the one before, and, after "+", how many more follow.
// Unicode 14: East Asian Width W and F; Bidi Class R and AL.
const WIDE =
  "3cw+2n 3i3+1 e+1 5b+3 4 3 ei+1 m+1 1f+b 18 k e 9+1 i+1 6+1 9 6 m 8+1 2 5 3 8 5+1 t 10 2 5+2 2 1q+2 p f nw+1 1g 5 mj+p " +
  "2+2g d+5x r+b 5+1q 3+2d 3+2u 6+16 2+2l 2+2b d+1a 2+13 9+5f3 1t+h3g 4+1i wq+s hw+8mb 6l9+a5 3+2x mv+9 n+y 2+i 2+3 46+2n " +
  "3k+6 m4a+4 c+1 f+4qf 9+yd 17+8 6w8+3 2+6 2+1 2+82 1a+2 i+3 9+az c21 5n 5b 3+9 2u+2 e+17 5+8 8+1 f+5 4b+w d+8 2+1x 2+l " +
  "d+16 5+4 d+g 4 4+1y 2 2+56 3+1q e+3 2+n j r+1 e 2f+2c 1d+1x 7 4+2 3+2 6+2 c+1 8+8 6c+b 5 7w+1a 2+9 2+54 35+4 4+4 4+6 " +
  "a+s 4+a 6+5 b+9 7+7 9+6 zu+wyn x+37c 8+65 3+4g1 f+5rk 2e8+f1 15v+3t6 ";
const RIGHT_TO_LEFT =
  "14u 2 3 3 a+q 5+5 k 3 2 e+1b z+2 2+2s g+1 8+1 b+j 2+1 2+t u+2g c f+16 a+1 5 4+n 5 a 4 8+e 2+o 6 2+a 6+u i+15 4li 179q " +
  "2+9 2+c 2+4 2 2+1 2+1 2+3g h+a2 j+1r 3+1h 15+c 38+4 2+3q 1s4+5 3 2+17 2+1 4 3+m 2+1z 9+8 1d+i 2+1 6+w 5+p 6 1t+1j 5+j " +
  "3+1a g+3 2+2 2+s b+8 8+8 8+1r x+10 7+b a+1h b+l 3+q 6+p 8+3 d+6 29+20 1k+1e e+1e 8+15 9p+15 4 3+1 27+13 9+l c+8 n+h " +
  "5+3 13+r l+m 16oa+5g 3+8 1d+1v 8 5+9 5+1 lu+1v 25+1o 5f+3 2+q 2+1 2 3 2+9 2+3 2 2 7 5 2 2 2+2 2+1 2 3 2 2 2 2 2+1 2 " +
  "3+3 2+6 2+3 2+3 2 2+9 2+g 6+2 2+4 2+g ";

function table(text) {
  const ranges = [];
  let at = 0;
  for (const part of text.trim().split(" ")) {
    const [distance, more = "0"] = part.split("+");
    const start = at + parseInt(distance, 36);
    at = start + parseInt(more, 36);
    ranges.push([start, at]);
  }
  return ranges;
}

function isIn(ranges, point) {
  let [low, high] = [0, ranges.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (point < ranges[middle][0]) high = middle - 1;
    else if (point > ranges[middle][1]) low = middle + 1;
    else return true;
  }
  return false;
}

const wide = table(WIDE);
const rightToLeft = table(RIGHT_TO_LEFT);

/** Columns of the text on a screen: wide East Asian characters take two, combining marks none. */
export function width(text) {
  let columns = 0;
  for (const char of text) {
    if (char <= "\x7f") columns += 1;
    else if (!/[\p{Mn}\p{Me}\p{Cf}]/u.test(char)) columns += isIn(wide, char.codePointAt(0)) || /\p{Cn}/u.test(char) ? 2 : 1;
  }
  return columns;
}

/** By its first letter. */
export function isRightToLeft(text) {
  const letter = text.match(/[\p{Lu}\p{Ll}\p{Lt}\p{Lo}]/u);
  return letter !== null && isIn(rightToLeft, letter[0].codePointAt(0));
}

// --- spaces, as Python counts them ---

const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp(`[${SPACE}]+`, "u");
const EDGES = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");
export const LEADING_SPACE = `[${SPACE}]*`;

export const strip = (text) => text.replace(EDGES, "");
export const split = (text) => strip(text).split(SPACES).filter(Boolean);

// --- scripts that put no spaces between words ---

const UNSPACED =
  /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}]/u;
const UNSPACED_PUNCTUATION = new Set("、。，．！？：；「」『』（）【】《》〈〉…—～・");

export const isUnspaced = (char) => UNSPACED.test(char);
const isTight = (char) => isUnspaced(char) || UNSPACED_PUNCTUATION.has(char);

/** Whether running text has a space between these two characters when they end and begin a sentence. */
export const needsSpace = (left, right) => !(isTight(left) && isTight(right));

export const firstOf = (text) => String.fromCodePoint(text.codePointAt(0));
export const lastOf = (text) => [...text.slice(-2)].at(-1);

/** Sentences as running text. */
export function joinTexts(texts) {
  let joined = "";
  for (const each of texts) {
    const text = strip(each);
    joined += (joined && text && needsSpace(lastOf(joined), firstOf(text)) ? " " : "") + text;
  }
  return joined;
}
