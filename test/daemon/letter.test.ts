import { Buffer } from "node:buffer";
import fc from "fast-check";
import { expect, test } from "vitest";
import { formatLetter } from "../../src/daemon/letter.ts";

const text = fc.string({ unit: "binary", maxLength: 300 });

/** As RFC 2047 has it: what a reader shows. */
function decode(subject: string): string {
  if (!subject.startsWith("=?")) return subject;
  const words = subject.split("\n ").map((word) => {
    expect(word.length).toBeLessThanOrEqual(75);
    const [, base64 = ""] = /^=\?UTF-8\?B\?([A-Za-z0-9+/=]+)\?=$/.exec(word) ?? [];
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(base64, "base64"));
  });
  return words.join("");
}

test("a letter has its six headers whatever the words, and the subject is what was meant", () => {
  fc.assert(
    fc.property(text, text, (subject, body) => {
      const letter = formatLetter({ to: "root", subject, text: body });
      const split = letter.indexOf("\n\n");
      const headers = letter.slice(0, split).split(/\n(?! )/);
      expect(headers.map((it) => it.replace(/:.*/s, ""))).toEqual([
        ...["To", "Subject", "Auto-Submitted", "MIME-Version"],
        ...["Content-Type", "Content-Transfer-Encoding"],
      ]);
      expect(/^[\n\x20-\x7e]*$/.test(letter.slice(0, split))).toBe(true);
      const shown = [...subject.toWellFormed().replaceAll(/\p{Cc}/gu, " ")].slice(0, 200).join("");
      expect(decode((headers[1] ?? "").slice("Subject: ".length))).toBe(shown);
      expect(letter.slice(split + 2)).toBe(body.replaceAll(/[^\P{Cc}\n\t]/gu, " "));
    }),
  );
});
