const WORD = /(?:[^\s"'\\]|\\.?|"(?:[^"\\]|\\.?)*"?|'[^']*'?)+/gs;
const QUOTED = /\\.?|"(?:[^"\\]|\\.?)*"?|'[^']*'?/gs;

/**
 * Splits a line into words as a shell does, as far as people type such lines: blanks part words,
 * quotes hold them together, a backslash takes the next character as it is. A quote that is still
 * open ends with the line.
 */
export function splitWords(line: string): string[] {
  return (line.match(WORD) ?? []).map(unquote);
}

/** For completion: the last word is empty where the line ends between two words. */
export function splitUnfinished(line: string): string[] {
  const isBetween = line.replaceAll(WORD, (word) => "x".repeat(word.length)).match(/(^|\s)$/);
  return isBetween ? [...splitWords(line), ""] : splitWords(line);
}

function unquote(word: string): string {
  return word.replaceAll(QUOTED, (part) => {
    if (part.startsWith("'")) return part.replaceAll("'", "");
    const inner = part.startsWith('"') ? part.replace(/^"|(?<!\\)"$/g, "") : part;
    return inner.replaceAll(/\\(.?)/gs, "$1");
  });
}
