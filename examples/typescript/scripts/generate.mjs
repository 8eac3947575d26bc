// Writes src/contract.ts: the SQL contract and the payloads as TypeScript, from the JSON Schemas that `jobforge schemas`
// writes. `node scripts/generate.mjs [folder of the contract] [folder of payloads]`
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");
const [contractFolder = join(HERE, "../../docs/schemas"), payloadFolder = join(HERE, "schemas")] = process.argv.slice(2);
const read = (file) => JSON.parse(readFileSync(file, "utf8"));

// what the driver `pg` makes of a type in an answer, and what it takes as an argument
const TIME = ["Date", "Date | string"];
const DRIVER = { "timestamp with time zone": TIME, date: TIME, bigint: ["string", "string | number"], bytea: ["Buffer", "Buffer"] };
const ROW = 0;
const ARGUMENT = 1;

// what this program calls: the types of all others would be read by nobody
const CALLED = ["schema_version", "enqueue_jobs", "claim_jobs", "claim_suspect", "has_suspect", "doze", "heartbeat_jobs", "complete_jobs", "upkeep"];

const quoted = (name) => (/^\w+$/.test(name) ? name : JSON.stringify(name));
const indented = (text) => text.replaceAll("\n", "\n  ");
const camel = (name) => (name === "error" ? "JobError" : "") || name.replace(/(^|[_.:-])(\w)/g, (_, __, letter) => letter.toUpperCase());

function typeOf(schema, side, reference) {
  if (schema === true || Object.keys(schema).length === 0) return "unknown";
  if (schema.$ref) return reference(schema.$ref);
  if (schema.enum) return schema.enum.map((word) => JSON.stringify(word)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const choice = schema.anyOf?.every((one) => one.properties === undefined) ? schema.anyOf : undefined;
  if (choice) {
    const found = new Set(choice.map((one) => typeOf(one, side, reference)));
    return found.has("unknown") ? "unknown" : [...found].join(" | ");
  }
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ ...schema, type }, side, reference)).join(" | ");
  const driver = schema.type !== "null" && DRIVER[schema["x-sql-type"]];
  if (driver) return driver[side];
  switch (schema.type) {
    case "string": case "boolean": case "null": return schema.type;
    case "integer": case "number": return "number";
    case "array": {
      const item = typeOf(schema.items ?? true, side, reference);
      return item.includes(" | ") ? `(${item})[]` : `${item}[]`;
    }
    case "object": return objectOf(schema, side, reference);
    default: return "unknown";
  }
}

function objectOf(schema, side, reference) {
  if (schema.anyOf) return schema.anyOf.map((one) => objectOf(one, side, reference)).join(" | ");
  if (!schema.properties) return "Record<string, unknown>";
  const line = ([name, one]) => {
    const needed = schema.required?.includes(name);
    const type = typeOf(one, side, reference);
    return `  ${quoted(name)}${needed ? "" : "?"}: ${indented(type)}${needed || type === "unknown" ? "" : " | undefined"};`;
  };
  return `{\n${Object.entries(schema.properties).map(line).join("\n")}\n}`;
}

function contract(schema) {
  const used = new Set();
  const reference = (target) => {
    used.add(target.split("/")[2]);
    const path = target.replace("#/$defs/", "").split("/");
    return path.length === 1 ? camel(path[0]) : `${camel(path[0])}["${path.at(-1)}"]`;
  };
  const entries = [];
  const signatures = [];
  for (const name of CALLED) {
    const one = schema["x-functions"][name];
    const given = schema.$defs[`${name}.arguments`];
    const types = Object.entries(given.properties).map(([key, value]) => [key, value["x-sql-type"]]);
    const row = schema.$defs[`${name}.row`];
    entries.push(
      `  /** ${one.description} For ${one.callers.join(", ")}. */\n  ${name}: {\n    arguments: ${indented(indented(typeOf(given, ARGUMENT, reference)))};\n` +
        `    row: ${row ? indented(indented(typeOf(row, ROW, reference))) : "never"};\n  };`,
    );
    signatures.push(`  ${name}: {${types.map(([key, type]) => ` ${key}: ${JSON.stringify(type)}`).join(",")} },`);
  }
  const parts = [];
  for (const name of used) { // grows: a definition may refer to others
    const one = schema.$defs[name];
    const side = name.endsWith("_item") ? ARGUMENT : ROW;
    parts.push(`${one.description ? `/** ${one.description} */\n` : ""}export type ${camel(name)} = ${typeOf(one, side, reference)};`);
  }
  return [
    `/** The revision of the schema that this was made from. */\nexport const REVISION = ${JSON.stringify(schema["x-revision"])};`,
    `/** The channel of the hints that wake workers. */\nexport const CHANNEL = ${JSON.stringify(schema["x-channel"])};`,
    ...parts,
    `/** The functions of the contract: what they take and the rows they answer with, as the driver \`pg\` gives them. */\nexport interface Functions {\n${entries.join("\n")}\n}`,
    `/** The SQL types of their arguments. */\nexport const SIGNATURES = {\n${signatures.join("\n")}\n} as const;`,
  ];
}

function payload(schema) {
  const prefix = camel(schema["x-type"]);
  const reference = (target) => `${prefix}${camel(target.replace("#/$defs/", ""))}`;
  const defs = Object.entries(schema.$defs ?? {});
  const more = defs.map(([name, one]) => `export type ${prefix}${camel(name)} = ${typeOf(one, ROW, reference)};`);
  return [...more, `export type ${prefix} = ${typeOf(schema, ROW, reference)};`];
}

const payloads = readdirSync(payloadFolder).filter((file) => file.endsWith(".json")).sort().map((file) => read(join(payloadFolder, file)));
const line = (schema) => `  ${quoted(schema["x-type"])}: ${camel(schema["x-type"])};`;
const queue = (schema) => `  ${quoted(schema["x-type"])}: ${JSON.stringify(schema["x-queue"])},`;
const text = [
  "// Made by scripts/generate.mjs from the JSON Schemas of `jobforge schemas`; not to be edited.",
  ...contract(read(join(contractFolder, "sql-contract.json"))),
  ...payloads.flatMap(payload),
  `/** The payload of each type of job. */\nexport interface Payloads {\n${payloads.map(line).join("\n")}\n}`,
  `/** The queue of each. */\nexport const QUEUES: Record<keyof Payloads, string> = {\n${payloads.map(queue).join("\n")}\n};`,
].join("\n\n");
writeFileSync(join(HERE, "src/contract.ts"), `${text}\n`);
