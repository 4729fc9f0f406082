/** The policies that users are given, read from docs/STORES.md: what it says is what is tested. */
import { readFileSync } from "node:fs";

export type Role = "writer" | "pruner" | "reader";

interface Statement {
  Effect: string;
  Action: string[];
  Resource: string | string[];
  Principal?: unknown;
}

/** For a bucket of Ceph, which knows policies of buckets only: they name who they are for. */
export function policyOf(
  role: Role,
  { bucket, prefix, user }: { bucket: string; prefix: string; user: string },
): string {
  const readme = readFileSync(new URL("../../docs/STORES.md", import.meta.url), "utf8");
  const text = new RegExp(`### The policy of a ${role}\\n[^]*?\`\`\`json\\n([^]*?)\`\`\``).exec(
    readme,
  );
  if (text?.[1] === undefined) throw new Error(`docs/STORES.md has no policy of a ${role}`);
  const named = text[1].replaceAll("BUCKET", bucket).replaceAll("PREFIX", prefix);
  const policy = JSON.parse(named) as { Version: string; Statement: Statement[] };
  for (const statement of policy.Statement) {
    statement.Principal = { AWS: [`arn:aws:iam:::user/${user}`] };
  }
  return JSON.stringify(policy);
}
