/** docs/JSON.md, from the schemas of the documents. */
import { z } from "zod";
import { DOCUMENTS, FAILURE_DOCUMENT } from "../../src/cli/json_documents.ts";
import { SCHEMA_VERSION } from "../../src/cli/program.ts";

interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
}

export function jsonDocumentation(): string {
  return `# What \`--json\` prints

With \`--json\` a command prints exactly one JSON document on standard output, also when it fails. Each has
\`"schemaVersion": ${SCHEMA_VERSION}\` beside the fields below. The version is raised when a field goes or comes to mean something
else. A new field does not raise it: do not choke on fields that you do not know. The exit status says whether
a command failed; a document of its own it can print with a status other than 0, when it ran through and has bad news
(\`compare\`, \`verify\`, \`doctor\`, \`list\`).

This page is made of the schemas in src/cli/json_documents.ts, and tests hold what commands print against them
(\`vitest run test/cli/json.test.ts --update\` writes it anew).

## When a command fails

${outline(FAILURE_DOCUMENT)}

${Object.entries(DOCUMENTS)
  .map(([name, document]) => `## \`ibackup ${name}\`\n\n${outline(document)}`)
  .join("\n\n")}
`;
}

function outline(document: z.ZodType): string {
  const schema = z.toJSONSchema(document, { io: "input" }) as Schema;
  if (schema.anyOf === undefined) return fieldsOf(schema, "").join("\n");
  return schema.anyOf
    .map((each) => [`Either${noteOf(each)}:`, "", ...fieldsOf(each, "")].join("\n"))
    .join("\n\n");
}

function fieldsOf(schema: Schema, indent: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const optional = schema.required?.includes(name) ? "" : ", not always there";
    return [
      `${indent}- \`${name}\`: ${typeOf(field)}${optional}${noteOf(field)}`,
      ...inner(field).flatMap((each) => fieldsOf(each, `${indent}  `)),
    ];
  });
}

/** The objects that a field holds. */
function inner(schema: Schema): Schema[] {
  if (schema.anyOf) return schema.anyOf.flatMap(inner);
  if (schema.items) return inner(schema.items);
  return schema.properties === undefined ? [] : [schema];
}

function typeOf(schema: Schema): string {
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeOf))].join(" or ");
  if (schema.enum) return schema.enum.map((it) => JSON.stringify(it)).join(", ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.items) {
    const note = schema.items.properties ? "" : noteOf(schema.items);
    return `list of ${typeOf(schema.items)}${note}`;
  }
  return schema.type ?? "anything";
}

function noteOf({ description }: Schema): string {
  return description === undefined ? "" : ` (${description})`;
}
