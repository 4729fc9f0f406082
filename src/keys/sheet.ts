import { createHash } from "node:crypto";

const GROUP = 6;
const GROUPS_PER_LINE = 5;

export interface SheetFacts {
  repositoryId: string;
  url: string;
  slotId: string;
  identity: string;
  createdAt: Date;
}

/** A page to print and to lock away. It is an identity file as it stands. */
export function recoverySheet(facts: SheetFacts): string {
  const { repositoryId, url, slotId, identity, createdAt } = facts;
  return `ibackup recovery sheet

Whoever has this page can read every backup of the repository. Print it, lock it away, and
remove the file. Nobody can read the repository when every identity and passphrase is lost.

  repository   ${repositoryId}
  URL          ${url}
  made         ${createdAt.toISOString()}
  slot         ${slotId} (\`ibackup key remove ${slotId}\` makes the page worthless for new backups)

Identity:

${groupsOf(identity)}

Check sum (first 8 digits of the SHA-256 of the identity without spaces): ${checksumOf(identity)}

To restore: type the identity into a file, with or without the spaces, make it readable for you
only (chmod 600), and run

  ibackup list --repo '${url}'
  ibackup restore BACKUP --target FILE --repo '${url}' --identity-file THAT_FILE

Without ibackup: the identity is that of age (age-encryption.org); FORMAT.md of ibackup says the rest.
`;
}

function groupsOf(identity: string): string {
  const start = identity.indexOf("1") + 1;
  const groups = identity.slice(start).match(new RegExp(`.{1,${GROUP}}`, "g")) ?? [];
  const lines = [`  ${identity.slice(0, start)}`];
  for (let at = 0; at < groups.length; at += GROUPS_PER_LINE) {
    lines.push(`  ${groups.slice(at, at + GROUPS_PER_LINE).join(" ")}`);
  }
  return lines.join("\n");
}

function checksumOf(identity: string): string {
  return createHash("sha256").update(identity).digest("hex").slice(0, 8);
}
