/** A letter as sendmail reads it: headers, an empty line, text. */

/** What one encoded word of RFC 2047 can hold and stay within 75 characters. */
const WORD_BYTES_MAX = 45;
const SUBJECT_MAX = 200;

export interface Letter {
  /** One address, or a user. */
  to: string;
  /** Of any characters. */
  subject: string;
  text: string;
}

/** Nothing in the subject or the text makes a header of its own. */
export function formatLetter({ to, subject, text }: Letter): string {
  const headers = [
    `To: ${to}`,
    `Subject: ${encodeHeader(oneLine(subject))}`,
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
  ];
  return `${headers.join("\n")}\n\n${text.replaceAll(/[^\P{Cc}\n\t]/gu, " ")}`;
}

/** Without control characters, and not too long for a subject. */
export function oneLine(text: string): string {
  const characters = text.toWellFormed().replaceAll(/\p{Cc}/gu, " ");
  return [...characters].slice(0, SUBJECT_MAX).join("");
}

/** As RFC 2047 has it, where there is more than ASCII. */
function encodeHeader(text: string): string {
  if (/^\p{ASCII}*$/u.test(text)) return text;
  const words: string[] = [""];
  for (const character of text) {
    const longer = `${words.at(-1)}${character}`;
    if (new TextEncoder().encode(longer).length > WORD_BYTES_MAX) words.push(character);
    else words[words.length - 1] = longer;
  }
  return words.map((word) => `=?UTF-8?B?${base64Of(word)}?=`).join("\n ");
}

function base64Of(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
